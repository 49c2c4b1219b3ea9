"""The one place where arguments are checked; every message carries name=value.

Each check takes its arguments by keyword, so that the name in the message is the caller's:

>>> check_non_negative(noise_multiplier=-1.0)
Traceback (most recent call last):
    ...
ft_tf.errors.ArgumentError: noise_multiplier=-1.0 must be a finite number >= 0
"""

import functools
import math
import numbers
import os
import sys
import types
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from ft_tf.errors import ArgumentError


def _check(values: dict[str, Any], accepts: Callable[[Any], bool], requirement: str) -> None:
    for name, value in values.items():
        if not accepts(value):
            raise ArgumentError(f"{name}={shown(value)} must be {requirement}")


_SHOWN = 100


def shown(value: Any) -> str:
    """Returns a value as it stands in a message: one line of at most 100 characters.

    >>> shown("a" * 500)[-10:], shown([1, 2])
    ('aaaaaaa...', '[1, 2]')
    """
    try:
        text = repr(value)
    except Exception:  # of anybody's object; Python itself refuses integers of 4,301 digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _is_finite(value: Any) -> bool:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer or fraction that is no float
        return False


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value <= _LARGEST


_LARGEST = 2**63 - 1  # of TensorFlow's and NumPy's integers


def check_finite(**values: Any) -> None:
    """Raises ArgumentError unless every value is a finite number."""
    _check(values, _is_finite, "a finite number")


def check_positive(**values: Any) -> None:
    """Raises ArgumentError unless every value is a finite number > 0."""
    _check(values, lambda v: _is_finite(v) and v > 0, "a finite number > 0")


def check_non_negative(**values: Any) -> None:
    """Raises ArgumentError unless every value is a finite number >= 0."""
    _check(values, lambda v: _is_finite(v) and v >= 0, "a finite number >= 0")


def check_radius(*, distance: str, bounds: tuple[float, float] = (0.0, 1.0), **values: Any) -> None:
    """Raises ArgumentError unless every value can be the radius of a ball of inputs.

    A ball of l_inf that is wider than the box of all inputs is a slip of units.

    >>> check_radius(distance="l_inf", epsilon=8)
    Traceback (most recent call last):
        ...
    ft_tf.errors.ArgumentError: epsilon=8 must be <= 1, the width of the bounds: 8 / 255 is 0.0314
    """
    check_choice(("l_inf", "l_2"), distance=distance)
    check_non_negative(**values)
    width = float(bounds[1] - bounds[0])
    for name, value in values.items():
        radius = float(value)  # before Python 3.12 a Fraction has no format
        if distance == "l_inf" and radius > width * (1 + 1e-6):  # rounding aside
            raise ArgumentError(
                f"{name}={radius:g} must be <= {width:g}, the width of the bounds: "
                f"{radius:g} / 255 is {radius / 255:.3g}"
            )


def check_fraction(**values: Any) -> None:
    """Raises ArgumentError unless every value lies in [0, 1]: a rate or a share."""
    _check(values, lambda v: _is_finite(v) and 0 <= v <= 1, "in [0, 1]")


def check_range(low: float, high: float, **values: Any) -> None:
    """Raises ArgumentError unless every value is a number in [low, high]."""
    _check(values, lambda v: _is_finite(v) and low <= v <= high, f"in [{low:g}, {high:g}]")


def check_probability(**values: Any) -> None:
    """Raises ArgumentError unless every value lies strictly between 0 and 1: delta, a level."""
    _check(values, lambda v: _is_finite(v) and 0 < v < 1, "in (0, 1), both ends excluded")


def check_delta(**values: Any) -> None:
    """Raises ArgumentError unless every value is the delta of an epsilon: in (0, 1), no subnormal.

    Of smaller ones logarithms and quantiles lose their digits.
    """
    least = sys.float_info.min
    _check(values, lambda v: _is_finite(v) and least <= v < 1, f"in (0, 1), at least {least:.3g}")


def check_positive_integer(**values: Any) -> None:
    """Raises ArgumentError unless every value is an integer >= 1."""
    _check(values, lambda v: _is_integer(v) and v >= 1, "an integer >= 1")


def check_non_negative_integer(**values: Any) -> None:
    """Raises ArgumentError unless every value is an integer >= 0."""
    _check(values, lambda v: _is_integer(v) and v >= 0, "an integer >= 0")


def check_choice(choices: Collection[Any], **values: Any) -> None:
    """Raises ArgumentError unless every value is one of `choices`.

    >>> check_choice(("l_inf", "l_2"), distance="l_1")
    Traceback (most recent call last):
        ...
    ft_tf.errors.ArgumentError: distance='l_1' must be one of l_inf, l_2
    """
    listed = list(choices)

    def is_one(value: Any) -> bool:
        # An array would be compared entry by entry, and True and 1.0 are 1.
        numbers_only = numbers.Integral if isinstance(listed[0], int) else str
        return isinstance(value, numbers_only) and not isinstance(value, bool) and value in listed

    _check(values, is_one, "one of " + ", ".join(map(str, listed)))


def check_type(kind: type, **values: Any) -> None:
    """Raises ArgumentError unless every value is an instance of `kind`."""
    _check(values, lambda value: isinstance(value, kind), f"a {kind.__name__}")


def check_types(kind: type, **values: Any) -> None:
    """Raises ArgumentError unless every value is a list or tuple of instances of `kind`."""

    def is_list(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(isinstance(item, kind) for item in value)

    _check(values, is_list, f"a list of {kind.__name__}")


def check_columns(columns: Collection[str], **frames: Any) -> None:
    """Raises ArgumentError unless every value is a data frame with these columns."""
    for name, frame in frames.items():
        missing = [column for column in columns if column not in getattr(frame, "columns", ())]
        if missing or not hasattr(frame, "attrs"):
            raise ArgumentError(
                f"{name}={shown(frame)} must be a data frame with the columns {', '.join(columns)}"
            )


def numbers_in(**lists: Any) -> np.ndarray:
    """Returns a list of finite numbers, at least one, as float64 [n].

    >>> numbers_in(values=[0.5, float("nan")])
    Traceback (most recent call last):
        ...
    ft_tf.errors.ArgumentError: values=[0.5, nan] must be a list of finite numbers, at least one
    """
    ((name, values),) = lists.items()
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        array = np.zeros(0)
    if (
        array.ndim != 1
        or not len(array)
        or array.dtype.kind not in "fiub"
        or not np.isfinite(array).all()
    ):
        raise ArgumentError(
            f"{name}={shown(values)} must be a list of finite numbers, at least one"
        )
    return array.astype(np.float64)


def check_path(**values: Any) -> None:
    r"""Raises ArgumentError unless every value can be the name of a file or directory.

    >>> check_path(model="a\0b")
    Traceback (most recent call last):
        ...
    ft_tf.errors.ArgumentError: model='a\x00b' must be a path of at most 4095 bytes, ...
    """
    _check(values, _is_path, "a path of at most 4095 bytes, 255 in each part, without NUL")


def _is_path(value: Any) -> bool:
    try:
        path = os.fspath(value)
        encoded = os.fsencode(path)
    except (TypeError, UnicodeEncodeError):
        return False
    if not isinstance(path, str) or not path or "\0" in path:
        return False
    return len(encoded) <= 4095 and all(len(os.fsencode(part)) <= 255 for part in Path(path).parts)


Amount = Annotated[float, check_non_negative]
AboveZero = Annotated[float, check_positive]
Fraction = Annotated[float, check_fraction]
Count = Annotated[int, check_non_negative_integer]
Positive = Annotated[int, check_positive_integer]
"""Hints that `check_fields` checks; others are made like them."""


def check_fields(values: Any) -> None:
    """Raises ArgumentError unless the fields of a dataclass are what their hints ask for.

    Checks hints Annotated[T, check], also as an element of a tuple, where the message has the
    singular of the field's name, and in `T | None`. Usable as `__post_init__`.

    >>> import dataclasses
    >>> @dataclasses.dataclass
    ... class Campaign:
    ...     trials: Positive
    ...     rates: tuple[Fraction, ...] = ()
    ...     __post_init__ = check_fields
    >>> Campaign(5, rates=(0.5, 1.5))
    Traceback (most recent call last):
        ...
    ft_tf.errors.ArgumentError: rate=1.5 must be in [0, 1]
    """
    for name, hint in _hints(type(values)).items():
        _check_hint(hint, name, getattr(values, name))


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {name: hints[name] for name in cls.__dataclass_fields__}


def _check_hint(hint: Any, name: str, value: Any) -> None:
    origin = get_origin(hint)
    if origin is types.UnionType or origin is Union:
        if value is not None:
            _check_hint(get_args(hint)[0], name, value)
    elif origin is Annotated:
        for check in hint.__metadata__:
            check(**{name: value})
    elif origin is tuple:
        for item in value:
            _check_hint(get_args(hint)[0], name.removesuffix("s"), item)
