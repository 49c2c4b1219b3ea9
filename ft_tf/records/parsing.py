"""JSON to dataclasses and back, by the type hints of the dataclasses.

Hints may be str, bool, int, float, Any (any JSON), Literal, tuple[T, ...], tuple[T, T],
dict[str, T], T | None, another dataclass, and Annotated[T, check, ...]. A check is a function that
returns what is wrong with a value, or None. A dataclass may have a method `_problems` for rules
over several fields, which yields pairs of a path below the object and what is wrong there.

A field without a default must be in the file. One with a default may be missing; where it is None
it is left out on writing. So an optional field is added to the schema in one line. Unknown keys are
refused, as a misspelt or newer one would be lost without a word.
"""

import dataclasses
import functools
import math
import re
import reprlib
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ft_tf.errors import RunError

T = TypeVar("T")
Reader = Callable[[Any], Any]

MAX_DEPTH = 16
"""Levels of nesting in a value of type Any: code that walks it must not exhaust the stack."""
MAX_BITS = 128
"""Of an integer: JSON and Python have no limit, the floats and tables made from it do."""


class Open:
    """Base of a dataclass whose object may have further keys, which are ignored."""


class Invalid(Exception):
    """A value that breaks the schema; `path` grows as the error leaves nested values."""

    def __init__(self, problem: str, value: Any = ..., *, path: str = "") -> None:
        super().__init__(problem)
        self.problem, self.value, self.path = problem, value, path

    def __str__(self) -> str:
        path = self.path.removeprefix(".")
        if self.value is not ...:
            path += "=" * bool(path) + reprlib.repr(self.value)
        return f"{path} {self.problem}"


def parse(cls: type[T], value: Any, *, where: str, what: str = "record") -> T:
    """Returns the content of a JSON file as an instance of the dataclass `cls`.

    Args:
        cls: the dataclass.
        value: what JSON gave.
        where: the file, for the message.
        what: the thing, for the message.

    Raises:
        RunError: names the first field that breaks the schema, in one line.
    """
    try:
        return reader(cls)(value)
    except Invalid as error:
        raise RunError(f"{where} is no valid {what}: {error}") from None


def to_dict(value: Any) -> Any:
    """Returns a dataclass as JSON values; the inverse of `parse`."""
    if dataclasses.is_dataclass(value):
        named = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {
            field.name: to_dict(item)
            for field, item in named
            if item is not None or field.default is dataclasses.MISSING
        }
    if isinstance(value, dict):
        return {key: to_dict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(item) for item in value]
    return value


@functools.cache
def reader(kind: Any) -> Reader:
    """Returns the function that checks a JSON value and converts it; it raises `Invalid`.

    Args:
        kind: a type hint, see the module's docstring.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return functools.partial(_checked, reader(arguments[0]), arguments[1:])
    if origin in (Union, types.UnionType):
        read = reader(next(option for option in arguments if option is not types.NoneType))
        return lambda value: None if value is None else read(value)
    if origin is Literal:
        return functools.partial(_choice, arguments)
    if origin is tuple:
        size = None if arguments[-1] is ... else len(arguments)
        return functools.partial(_tuple, reader(arguments[0]), size)
    if origin is dict:
        return functools.partial(_dict, *map(reader, arguments))
    if dataclasses.is_dataclass(kind):
        return functools.partial(_object, kind)
    return {str: _text, bool: _flag, int: _integer, float: _number, Any: json_value}[kind]


@functools.cache
def _fields(cls: type) -> dict[str, tuple[Reader, bool]]:
    """Each field's reader, and whether it must be there."""
    hints = get_type_hints(cls, include_extras=True)
    return {
        field.name: (reader(hints[field.name]), field.default is dataclasses.MISSING)
        for field in dataclasses.fields(cls)
    }


def _within(place: str, read: Reader, value: Any) -> Any:
    try:
        return read(value)
    except Invalid as error:
        error.path = place + error.path
        raise


def step(key: str) -> str:
    """Returns a key as part of a path; keys of a file may hold anything."""
    return f".{key}" if re.fullmatch(r"[\w-]+", key, re.ASCII) else f"[{key[:80]!a}]"


def _object(cls: type, value: Any) -> Any:
    if not isinstance(value, dict):
        raise Invalid("must be an object", value)
    fields = _fields(cls)
    for name, (_, is_needed) in fields.items():
        if is_needed and name not in value:
            raise Invalid("is missing", path=f".{name}")
    for key in value:
        if key not in fields and not issubclass(cls, Open):
            raise Invalid("is an unknown key; was it written by a newer ft_tf?", path=step(key))
    found = cls(
        **{
            name: _within(f".{name}", read, value[name])
            for name, (read, _) in fields.items()
            if name in value
        }
    )
    for place, problem in getattr(found, "_problems", tuple)():
        raise Invalid(problem, path=f".{place}")
    return found


def _dict(read_key: Reader, read: Reader, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid("must be an object", value)
    return {
        _within(step(key), read_key, key): _within(step(key), read, item)
        for key, item in value.items()
    }


def _tuple(read: Reader, size: int | None, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise Invalid("must be a list", value)
    if size not in (None, len(value)):
        raise Invalid(f"must have {size} entries, not {len(value)}", value)
    return tuple(_within(f"[{index}]", read, item) for index, item in enumerate(value))


def _checked(read: Reader, checks: Iterable[Callable[[Any], str | None]], value: Any) -> Any:
    found = read(value)
    for check in checks:
        problem = check(found)
        if problem:
            raise Invalid(problem, value)
    return found


def _choice(options: Sequence[Any], value: Any) -> Any:
    # True == 1 == 1.0: the types must agree as well.
    if not any(type(value) is type(option) and value == option for option in options):
        raise Invalid(f"must be {' or '.join(map(str, options))}", value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Invalid("must be a string", value)
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise Invalid("holds half of a surrogate pair, which no file can hold", value)
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Invalid("must be true or false", value)
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid("must be an integer", value)
    if value.bit_length() > MAX_BITS:
        raise Invalid(f"must have at most {MAX_BITS} bits")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Invalid("must be a number", value)
    value = float(_integer(value)) if isinstance(value, int) else value
    if not math.isfinite(value):
        raise Invalid("must be finite", value)
    return value


def json_value(value: Any, depth: int = 0) -> Any:
    """Checks JSON of any kind: finite numbers, strings that can be written, bounded nesting."""
    if depth > MAX_DEPTH:
        raise Invalid(f"is nested more than {MAX_DEPTH} levels deep")
    read = functools.partial(json_value, depth=depth + 1)
    if isinstance(value, dict):
        return _dict(_text, read, value)
    if isinstance(value, list):
        return [_within(f"[{index}]", read, item) for index, item in enumerate(value)]
    if isinstance(value, bool | None):
        return value
    if isinstance(value, int):
        return _integer(value)
    return _number(value) if isinstance(value, float) else _text(value)
