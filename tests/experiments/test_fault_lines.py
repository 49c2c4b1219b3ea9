"""What the fault binary prints of a prediction and of a campaign, from rows made by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments import _fault_lines as text
from ft_tf import faults
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
    _, header, mean, sd, rule, _ = prediction_lines(False)
    assert header.split() == ["rate", "predicted", "measured", "+-", "apart", "allowed"]
    assert mean.split() == ["0.1", "mean", "0", "0.1", "0.2", "0.3", "0.4"]
    assert sd.split() == ["sd", "0.5", "0.6", "0.7", "0.8", "0.9", "does", "not", "hold"]
    assert "30% of the measured one and 2 of its standard errors (+-)" in rule


def campaign(*, trials, clean=0.8, rates=(0.0, 0.5, 0.9)):
    """Rows as `sweep` makes them, accuracies of trials far apart."""
    rows = [
        {"target": "units", "rate": rate, "trial": trial, "seed": 0, "faults": 9.0 * (rate > 0)}
        | dict.fromkeys(MEASURES, 0.1)
        | {"accuracy": clean if rate == 0 else (0.7, 0.15)[trial % 2]}
        for rate in rates
        for trial in range(trials)
    ]
    frame = pd.DataFrame(rows)
    frame.attrs["classes"] = 10
    return frame


def test_one_trial_has_no_interval():
    frame = campaign(trials=1)
    lines = text.summary_lines(faults.summarize(frame))
    assert "[80.00%, 80.00%]" in lines[1] and "[one trial: none]" in lines[2]
    assert "Student" not in lines[-1]
    faulty = text.summary_lines(faults.summarize(frame[frame["rate"] > 0]))
    assert faulty[-1] == "no intervals over trials: one trial does not show a spread"
    assert not any("[" in line for line in [*text.curve_lines(frame), text.headline(frame, "x")])
    assert text.trials_line(frame) is None


def curve(*accuracies, rates):
    """A campaign without spread, one accuracy per rate."""
    frame = campaign(trials=2, rates=rates)
    return frame.assign(accuracy=frame["rate"].map(dict(zip(rates, accuracies, strict=True))))


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        # Above chance 0.8: half is 0.4, at accuracy 0.5; 0.7 to 0.3 passes it half way.
        (
            (0.9, 0.7, 0.3),
            "half of the accuracy above chance (10%) is lost at 15% faulty units [15",
        ),
        ((0.9, 0.9, 0.6), "half of the accuracy above chance (10%) is not lost up to 20% faulty "),
        ((0.1, 0.1, 0.1), "no accuracy above chance (10%) to lose: 10.00% without faults"),
    ],
)
def test_the_headline_tells_where_half_is_lost(accuracies, said):
    frame = curve(*accuracies, rates=(0.0, 0.1, 0.2))
    frame.attrs["classes"] = 10
    line = text.headline(frame, "faulty units")
    assert line.startswith(said)
    assert ("interpolated between 10% and 20%" in line) == (accuracies[-1] == 0.3)


def test_the_headline_without_rate_0_or_without_faults():
    frame = campaign(trials=2)
    assert text.headline(frame[frame["rate"] > 0], "faulty units") == (
        "accuracy 42.50% at 90% faulty units; what is lost is not known without rate 0"
    )
    none = text.headline(frame[frame["rate"] == 0], "faulty units")
    assert none == "accuracy 80.00% without faults, the only rate"


def test_an_end_beyond_the_highest_rate_is_said():
    """The trials at 0.7 and 0.15 do not exclude that half is left."""
    assert "[36%, above 90%]" in text.headline(campaign(trials=4, rates=(0.0, 0.9)), "units")


def test_the_trials_of_one_point_are_steins():
    # t(0.975, 3) = 3.1824 and the variance of 0.7, 0.15 twice is 4 (0.275)^2 / 3.
    needed = math.ceil(3.182446**2 * 4 * 0.275**2 / 3 / 0.01**2)
    line = text.trials_line(campaign(trials=4))
    assert f"takes about {needed:,} trials" in line and f"--trials={needed}," in line
    agree = text.trials_line(curve(0.9, 0.8, rates=(0.0, 0.5)))
    assert "rate 0.5 the most" in agree  # two trials that agree are not enough
    enough = campaign(trials=4).assign(accuracy=lambda frame: 0.8 + 1e-4 * frame["trial"])
    assert text.trials_line(enough) == "+-1 point at every rate: 4 trials are enough"
    stopped = campaign(trials=4)
    stopped.attrs["stop_rule"] = {"method": "stein"}
    assert text.trials_line(stopped) is None


def test_a_rate_that_its_trials_did_not_settle_is_marked():
    summary = faults.summarize(campaign(trials=3)).assign(reached=[True, False, True])
    lines = text.summary_lines(summary)
    assert ["NOT REACHED" in line for line in lines] == [
        False,
        False,
        True,
        False,
        True,
        False,
        False,
    ]


def test_intervals_stay_where_the_figure_can_be():
    figures = faults.curve_figures(campaign(trials=2), classes=10)
    area = figures.area_interval
    assert (area.low, area.high) == pytest.approx((-0.1 / 0.7, 0.9 / 0.7))
    assert -1 <= figures.drop_interval.low <= figures.drop_interval.high <= 1


def test_a_model_at_chance_is_told_so():
    (drop, reason) = text.curve_lines(campaign(trials=2, clean=0.1))
    assert drop.startswith("from 50% to 90% faults")
    assert reason.startswith("no area above chance") and reason.endswith("is above 10.00%")


def test_the_worst_layer_comes_first_and_the_whole_model_last():
    table = pd.DataFrame(
        {"layer": ["whole model", "a", "b"], "accuracy": [0.6, 0.7, 0.65], "sites": 3000,
         "drop": [0.2, 0.1, 0.15], "low": -np.inf, "high": np.inf}
    )  # fmt: skip
    head, header, *rest = text.layer_lines(table, target="units", rate=0.5, setting="1 trials")
    assert head == "layer by layer at rate 0.5 (1 trials), most damaging first:"
    assert [line.split()[0] for line in rest] == ["b", "a", "whole"]
    assert rest[0].split()[1:4] == ["3,000", "15.00%", "65.00%"]
    assert len({len(line) for line in (header, *rest)}) == 1
    assert all("[one trial: none]" in line for line in rest)


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
