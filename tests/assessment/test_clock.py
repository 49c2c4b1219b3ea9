"""Budgets as text, and what a clock charges."""

import pytest

from ft_tf.assessment import clock
from ft_tf.errors import ArgumentError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10 min", 600), ("90s", 90), ("1.5 hours", 5400), ("2 m", 120), ("45", 45), (7.5, 7.5)],
)
def test_a_budget_is_a_time(text, seconds):
    assert clock.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "ten min", "-5 s", "nan", 0, float("inf")])
def test_other_budgets_are_refused(text):
    with pytest.raises(ArgumentError, match="^budget="):
        clock.seconds_of(text)


def test_time_is_charged_to_the_measurement_in_work():
    said, times = [], iter([100.0, 103.0, 107.0])
    found = clock.Clock(
        60, {"before": 40.0}, lambda spent, name: said.append((spent, name)), lambda: next(times)
    )
    with pytest.raises(KeyError), found.charged("one") as began:
        assert began == 100.0 and found.tick() == 103.0
        raise KeyError
    assert found.seconds == {"before": 40.0, "one": 7.0} and found.left == 13.0
    assert said == [(43.0, "one"), (47.0, "one")]
