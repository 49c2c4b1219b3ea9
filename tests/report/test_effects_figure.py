"""Panels of claims show the numbers of the claims."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ft_tf import effects, records
from ft_tf.report import effects_figure

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


@pytest.fixture(scope="module")
def study():
    return records.load_all(RESULTS)


@pytest.fixture(scope="module")
def claims(study):
    return {claim.id: claim for claim in effects.claims(study)}


@pytest.fixture
def axes():
    return Figure().subplots()


def points(axes):
    """(x, y) of every marker that is drawn."""
    return [tuple(map(float, xy)) for line in axes.lines if line.get_marker() != "None"
            for xy in line.get_xydata()]  # fmt: skip


def test_a_forest_has_a_line_per_row_and_the_mean_last(claims):
    claim = claims["dp_tolerance"]
    (axes,) = effects_figure.draw_forest(claim).axes
    rows = [row for row in claim.rows if row.role != "context"]
    expected = [*(row.estimate for row in rows), claim.estimate]
    assert [x for x, _ in points(axes)] == pytest.approx(expected)
    assert axes.get_yticklabels()[-1].get_text() == "mean over networks"
    assert claim.word in axes.get_title()


def test_gaps_are_drawn_at_the_end_and_at_equal_learning(axes, claims):
    effects_figure.gap_panel(axes, claims.values())
    drawn = {x for x, _ in points(axes)}
    for id in ("dp_gap", "robust_overfit"):
        for row in (row for row in claims[id].rows if row.role == "network"):
            assert row.estimate in drawn
    assert min(drawn) < -15  # CIFAR-10 at the end of training


def test_the_premise_has_a_point_per_model_in_tau_and_tau_in_its_title(axes, study, claims):
    models = effects.premise(study)
    claim = claims["premise"]
    effects_figure.premise_panel(axes, models, claim)
    in_tau = models["network"].isin([row.network for row in claim.rows])
    assert len(points(axes)) == in_tau.sum() == claim.trainings
    assert f"tau {claim.estimate:+.2f}" in axes.get_title()


def test_the_walk_is_drawn_for_private_runs(axes, study):
    walk = effects.noise_walk(study)
    effects_figure.walk_panel(axes, walk)
    drawn = np.concatenate([found.get_offsets() for found in axes.collections])
    assert len(drawn) == (walk.walk > 0).sum()
    assert sorted(drawn[:, 1]) == pytest.approx(sorted((walk.test - walk.lost)[walk.walk > 0]))


def test_chance_is_that_of_the_records(axes, study):
    """Three classes; a data set that nobody knows the classes of has no line."""
    run = next(r for r in study if "fmnist_dnn-dpsgd-sigma_1.1-clip_1-table_8" in r.name)
    three = dataclasses.replace(run, data=dataclasses.replace(run.data, classes=3))
    effects_figure.walk_panel(axes, effects.noise_walk([three]))
    (line,) = (found for found in axes.lines if found.get_label() == "chance")
    assert line.get_ydata()[0] == pytest.approx(100 / 3)
    unknown = dataclasses.replace(run, data=dataclasses.replace(run.data, name="mine"))
    other = Figure().subplots()
    effects_figure.walk_panel(other, effects.noise_walk([unknown]))
    assert "chance" not in [found.get_label() for found in other.lines]
