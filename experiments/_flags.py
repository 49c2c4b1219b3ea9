"""Flags made from the dataclass that they fill: name, type, default and help exist once, there."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from absl import flags

from ft_tf.errors import ArgumentError

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # --help lists the flags under the binary that asks for them


class _NumberParser(flags.FloatParser):
    """Parses 0.1 and 8/255."""

    syntactic_help = "a number, or a fraction such as 8/255"

    def convert(self, argument: Any) -> float:
        """Returns the number; absl prefixes the message of a ValueError with the flag."""
        if not isinstance(argument, str) or "/" not in argument:
            return super().convert(argument)
        numerator, _, denominator = argument.partition("/")
        try:
            return float(numerator) / float(denominator)
        except ZeroDivisionError:
            raise ValueError(f"{argument!r} divides by 0") from None


def define_number(name: str, default: float | None, text: str) -> None:
    """Defines a float flag that also takes a fraction."""
    flags.DEFINE(_NumberParser(), name, default, text, serializer=flags.ArgumentSerializer())


_DEFINE = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: define_number,
    str: flags.DEFINE_string,
}


def define(spec: type, names: Iterable[str]) -> None:
    """Defines a flag for each named field of a dataclass; its help is the field's documentation.

    Args:
        spec: a dataclass whose docstring has an "Attributes:" section.
        names: fields that get a flag.
    """
    fields, documented = _fields(spec), attribute_docs(spec)
    for name in names:
        _define(name, _type(spec, name), fields[name].default, documented[name])


def define_options(specs: Iterable[type]) -> None:
    """Defines a flag for each option of several classes with a `name`, such as the algorithms.

    Options of one name share a flag. A flag that is not given is None: the class has its default.
    """
    users: dict[str, list[type]] = {}
    for spec in specs:
        for name in _fields(spec):
            users.setdefault(name, []).append(spec)
    for name, classes in users.items():
        documented = [attribute_docs(spec).get(name, "") for spec in classes]
        helps = " ".join(dict.fromkeys(filter(None, documented)))
        default = _fields(classes[0])[name].default
        text = f"{', '.join(spec.name for spec in classes)}: {helps} Default: {default}."
        _define(name, _type(classes[0], name), None, text)


def given_options(spec: type, others: Iterable[type]) -> dict[str, Any]:
    """Returns the options of `spec` that were given as flags.

    Raises:
        ArgumentError: an option of another class was given.
    """
    own = _fields(spec)
    for name in sorted({name for other in others for name in _fields(other)}):
        if FLAGS[name].present and name not in own:
            raise ArgumentError(
                f"{name}={FLAGS[name].value!r} is not an option of {_kind(spec)}={spec.name!r}"
            )
    return {name: FLAGS[name].value for name in own if FLAGS[name].value is not None}


def values(spec: type, names: Iterable[str]) -> dict[str, Any]:
    """Returns the values of the flags that `define` made of these fields.

    Raises:
        ArgumentError: an element of a list is no number.
    """
    return {name: _converted(_type(spec, name), name) for name in names}


def attribute_docs(spec: type) -> dict[str, str]:
    """Returns what the docstrings of a class and its bases say of each attribute.

    >>> import dataclasses
    >>> @dataclasses.dataclass
    ... class Point:
    ...     '''A point.
    ...
    ...     Attributes:
    ...         x: the first
    ...             coordinate.
    ...     '''
    ...     x: float = 0.0
    >>> attribute_docs(Point)
    {'x': 'the first coordinate.'}
    """
    found: dict[str, str] = {}
    for base in reversed(spec.__mro__):
        _, _, section = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        section = section.split("\n\n")[0]
        for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
            found[name] = " ".join(text.split())
    return found


def _fields(spec: type) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(spec)}


def _kind(spec: type) -> str:
    """What a class is called in messages: the flag that names it."""
    return next(base.__name__.lower() for base in reversed(spec.__mro__[:-1]))


def _type(spec: type, name: str) -> Any:
    """The type of a field; of `int | None` int, of `tuple[float, ...]` (float, )."""
    hint = typing.get_type_hints(spec)[name]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not type(None))
    if typing.get_origin(hint) is tuple:
        return (typing.get_args(hint)[0],)
    return hint


def _define(name: str, kind: Any, default: Any, text: str) -> None:
    if isinstance(kind, tuple):
        shown = None if default is None else [f"{v:g}" if v != str(v) else v for v in default]
        flags.DEFINE_list(name, shown, text)
    else:
        _DEFINE[kind](name, default, text)


def _converted(kind: Any, name: str) -> Any:
    value = FLAGS[name].value
    if not isinstance(kind, tuple) or value is None:
        return value
    try:
        return tuple(map(kind[0], value))
    except ValueError:
        raise ArgumentError(f"{name}={','.join(value)!r} must be numbers") from None
