"""What the fault binary says of a prediction and of a campaign, from rows made by hand."""

import numpy as np
import pandas as pd
import pytest

from ft_tf import faults
from ft_tf.faults import text
from ft_tf.faults.measures import COLUMNS as MEASURES

FIGURES = [
    f"{kind}_{name}"
    for kind in ("mean", "sd")
    for name in ("predicted", "measured", "noise", "distance", "allowed")
]


def prediction_lines(*holds):
    rates = [10.0**-exponent for exponent in range(len(holds), 0, -1)]
    frame = pd.DataFrame({"rate": rates, "holds": holds})
    frame = frame.assign(**{name: 0.1 * number for number, name in enumerate(FIGURES)})
    frame.attrs["tolerance"] = 0.3
    return [line.strip() for line in text.prediction_lines(frame, images=5, trials=9)]


def last_line(*holds):
    return prediction_lines(*holds)[-1]


def test_the_rule_of_a_prediction_can_be_followed():
    _, row, rule, _ = prediction_lines(False)
    assert "mean 0 predicted, 0.1 +- 0.2 measured, 0.3 apart of 0.4 allowed" in row
    assert "sd 0.5 predicted, 0.6 +- 0.7 measured, 0.8 apart of 0.9 allowed  does not hold" in row
    assert "30% of the measured one and 2 of its standard errors (+-)" in rule


def campaign(*, trials, clean=0.8, rates=(0.0, 0.5, 0.9)):
    """Rows as `sweep` makes them, accuracies of trials far apart."""
    rows = [
        {"target": "units", "rate": rate, "trial": trial, "faults": 9.0 * (rate > 0)}
        | dict.fromkeys(MEASURES, 0.1)
        | {"accuracy": clean if rate == 0 else (0.7, 0.15)[trial % 2]}
        for rate in rates
        for trial in range(trials)
    ]
    return pd.DataFrame(rows)


def test_one_trial_has_no_interval():
    frame = campaign(trials=1)
    lines = text.summary_lines(faults.summarize(frame))
    exact, first, _ = (line for line in lines if "accuracy" in line)
    assert "[80.00%, 80.00%]" in exact and "[no interval: one trial]" in first
    assert "Student" not in lines[-1]
    faulty = text.summary_lines(faults.summarize(frame[frame["rate"] > 0]))
    assert faulty[-1] == "no intervals over trials: one trial does not show a spread"
    assert not any(
        "[" in line for line in text.curve_lines(faults.curve_figures(frame, classes=10))
    )


def test_intervals_stay_where_the_figure_can_be():
    figures = faults.curve_figures(campaign(trials=2), classes=10)
    area = figures.area_interval
    assert (area.low, area.high) == pytest.approx((-0.1 / 0.7, 0.9 / 0.7))
    assert -1 <= figures.drop_interval.low <= figures.drop_interval.high <= 1


def test_a_model_at_chance_is_told_so():
    (drop, reason) = text.curve_lines(
        faults.curve_figures(campaign(trials=2, clean=0.1), classes=10)
    )
    assert drop.startswith("from 50% to 90% faults")
    assert reason.startswith("no area above chance") and reason.endswith("is above 10.00%")


def test_the_worst_layer_is_told_by_the_accuracy_left():
    table = pd.DataFrame(
        {"layer": ["whole model", "a", "b"], "accuracy": [0.6, 0.7, 0.65], "sites": 3,
         "low": -np.inf, "high": np.inf}
    )  # fmt: skip
    head, *rest = text.layer_lines(table, target="units", rate=0.5, setting="1 trials")
    assert head.endswith(
        "faults in units of b hurt most, accuracy left 65.00%; in those of the whole model 60.00%"
    )
    assert all("[no interval: one trial]" in line for line in rest)


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        ((True, True, False), "it holds up to rate 0.01, not at 0.1"),
        ((True, True), "it holds up to rate 0.1, the highest of these"),
        ((False, False), "it holds at none of these rates, 0.01 included"),
        ((False, True, False), "it holds at 0.01 only; at 0.001 it does not"),
    ],
)
def test_where_the_prediction_holds(holds, said):
    assert last_line(*holds).startswith(said)
