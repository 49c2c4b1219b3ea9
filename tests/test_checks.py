import math

import numpy as np
import pytest

from ft_tf import checks
from ft_tf.errors import ArgumentError, FtTfError


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checks.check_finite, [0, -1.5, np.float32(2)], [math.inf, math.nan, "1", None, True]),
        (checks.check_positive, [1e-300, 3], [0, -1, math.inf, math.nan, None]),
        (checks.check_non_negative, [0, 0.0, 2], [-1e-300, math.inf, math.nan, "0"]),
        (checks.check_fraction, [0, 1, 0.5], [-1e-9, 1 + 1e-9, math.nan]),
        (checks.check_delta, [1e-5, 1e-300], [0, 1, 1e-320, math.nan]),
        (checks.check_probability, [1e-5, 0.95], [0, 1, -0.1, math.nan]),
        (checks.check_positive_integer, [1, np.int64(5)], [0, -1, 1.0, True, None]),
        (checks.check_non_negative_integer, [0, 7], [-1, 0.0, False]),
    ],
)
def test_a_check_takes_the_good_and_names_the_bad(check, good, bad):
    for value in good:
        check(name=value)
    for value in bad:
        with pytest.raises(ArgumentError, match=f"^name={value!r} must be"):
            check(name=value)


def test_choice_lists_what_is_known():
    checks.check_choice(("a", "b"), letter="a")
    with pytest.raises(ArgumentError, match="letter='c' must be one of a, b"):
        checks.check_choice(("a", "b"), letter="c")


def test_an_argument_error_is_also_a_value_error():
    assert issubclass(ArgumentError, ValueError)
    assert issubclass(ArgumentError, FtTfError)


def test_a_radius_is_at_most_the_width_of_the_box_in_l_inf_and_any_length_in_l_2():
    checks.check_radius(distance="l_inf", epsilon=0.0, other=1.0)
    checks.check_radius(distance="l_inf", bounds=(-10.0, 10.0), epsilon=20.0)
    checks.check_radius(distance="l_2", epsilon=8.0)
    with pytest.raises(ArgumentError, match=r"epsilon=8 must be <= 1, .*: 8 / 255 is 0\.0314"):
        checks.check_radius(distance="l_inf", epsilon=8)
    with pytest.raises(ArgumentError, match="epsilon=-1"):
        checks.check_radius(distance="l_2", epsilon=-1)
