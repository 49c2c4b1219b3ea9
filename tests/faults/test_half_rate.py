"""The interval of the rate at which half of the accuracy above chance is lost."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ft_tf import faults


def campaign(rates, accuracies):
    """Rows of trials (first axis) at rates (second axis)."""
    rows = [
        {"target": "weights", "rate": rate, "trial": trial, "accuracy": accuracy}
        for trial, values in enumerate(accuracies)
        for rate, accuracy in zip(rates, values, strict=True)
    ]
    return pd.DataFrame(rows)


def test_closed_form_between_two_rates():
    """Trial i has accuracy 0.9 - d_i r: half of the 0.8 above chance is lost where mean(d) r = 0.4.

    The mean of d r - 0.4 has the interval r mean(d) - 0.4 +- r t s / sqrt(n), which contains 0 for
    r between 0.4 / (mean(d) + t s / sqrt(n)) and 0.4 / (mean(d) - t s / sqrt(n)).
    """
    drops = np.array([0.70, 0.78, 0.74, 0.72, 0.80])
    found = faults.curve_figures(campaign([0.0, 1.0], [(0.9, 0.9 - d) for d in drops]), classes=10)
    reach = stats.t.ppf(0.975, 4) * drops.std(ddof=1) / math.sqrt(5)
    assert found.half_rate == pytest.approx(0.4 / drops.mean())
    interval = found.half_rate_interval
    assert interval.low == pytest.approx(0.4 / (drops.mean() + reach))
    assert interval.high == pytest.approx(0.4 / (drops.mean() - reach))


def test_it_covers_the_rate_of_the_true_curve():
    """Accuracy 0.9 - 0.8 r + noise: half is lost at 0.5, between the tested rates."""
    rates, generator = (
        np.array([0.0, 0.2, 0.45, 0.6, 1.0]),
        np.random.Generator(np.random.Philox(0)),
    )
    covered = 0
    for _ in range(400):
        noise = generator.normal(0, 0.05, (6, len(rates))) * (rates > 0)
        frame = campaign(rates, 0.9 - 0.8 * rates + noise)
        interval = faults.curve_figures(frame, classes=10).half_rate_interval
        covered += interval.low <= 0.5 <= interval.high
    assert covered / 400 == pytest.approx(0.95, abs=3 * math.sqrt(0.0475 / 400))


def test_an_end_that_the_trials_do_not_reach_is_infinite():
    frame = campaign([0.0, 0.5], [(0.9, 0.3), (0.9, 0.45), (0.9, 0.7)])
    found = faults.curve_figures(frame, classes=10)
    assert 0 < found.half_rate_interval.low < found.half_rate < 0.5
    assert found.half_rate_interval.high == math.inf


@pytest.mark.parametrize("rows", [[(0.9, 0.3)], [(0.9, 0.8), (0.9, 0.7)]])
def test_one_trial_or_no_such_rate_has_no_interval(rows):
    assert faults.curve_figures(campaign([0.0, 0.5], rows), classes=10).half_rate_interval is None


def test_the_rate_of_a_given_loss_in_closed_form():
    """Trial i loses d_i r: 0.01 is lost at 0.01 / mean(d), with the interval of the test above."""
    slopes = np.array([0.10, 0.16, 0.12, 0.15])
    frame = campaign([0.0, 0.5], [(0.9, 0.9 - d / 2) for d in slopes])
    lost = frame.assign(accuracy_lost=0.9 - frame["accuracy"])
    rate, interval = faults.lost_rate(lost, points=0.01)
    reach = stats.t.ppf(0.975, 3) * slopes.std(ddof=1) / 2
    assert rate == pytest.approx(0.01 / slopes.mean())
    assert interval.low == pytest.approx(0.01 / (slopes.mean() + reach))
    assert interval.high == pytest.approx(0.01 / (slopes.mean() - reach))
    assert faults.lost_rate(lost, points=0.5) == (None, None)
