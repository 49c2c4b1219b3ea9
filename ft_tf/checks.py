"""The one place where arguments are checked; every message carries name=value.

Each check takes its arguments by keyword, so that the name in the message is the caller's:

>>> check_non_negative(noise_multiplier=-1.0)
Traceback (most recent call last):
    ...
ft_tf.errors.ArgumentError: noise_multiplier=-1.0 must be a finite number >= 0
"""

import math
import numbers
from collections.abc import Callable, Collection
from typing import Any

from ft_tf.errors import ArgumentError


def _check(values: dict[str, Any], accepts: Callable[[Any], bool], requirement: str) -> None:
    for name, value in values.items():
        if not accepts(value):
            raise ArgumentError(f"{name}={value!r} must be {requirement}")


def _is_finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


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
    check_non_negative(**values)
    low, high = bounds
    for name, value in values.items():
        if distance == "l_inf" and value > (high - low) * (1 + 1e-6):  # rounding aside
            raise ArgumentError(
                f"{name}={value:g} must be <= {high - low:g}, the width of the bounds: "
                f"{value:g} / 255 is {value / 255:.3g}"
            )


def check_fraction(**values: Any) -> None:
    """Raises ArgumentError unless every value lies in [0, 1]: a rate or a share."""
    _check(values, lambda v: _is_finite(v) and 0 <= v <= 1, "in [0, 1]")


def check_probability(**values: Any) -> None:
    """Raises ArgumentError unless every value lies strictly between 0 and 1: delta, a level."""
    _check(values, lambda v: _is_finite(v) and 0 < v < 1, "in (0, 1), both ends excluded")


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
    _check(values, lambda v: v in choices, "one of " + ", ".join(map(str, choices)))
