"""Plan "walk": shares of variance against closed forms, on records made for it."""

import factory
import numpy as np
import pytest
from test_private_remedies import campaign, private_run

from ft_tf.report.exhibits import walk_against_epsilon as wae

LEVELS = (0.01, 0.02, 0.04, 0.08)


def run(epsilon, level, seed, lost, *, test=0.8):
    """A run of 100 steps whose walk is 0.15 sigma sqrt(100) / 250 = level."""
    record = private_run("", seed, test=test, lost=lost, batch_size=250, learning_rate=0.15)
    record["config"] |= {"label": f"walk-epsilon_{epsilon:g}-s_{level:g}"}
    record["config"]["algorithm"]["noise_multiplier"] = level * 250 / 1.5
    record["name"] = f"{record['name']}-{epsilon:g}-{level:g}"
    return record


def records_of(lost, **settings):
    rng = np.random.default_rng(0)
    return [
        run(epsilon, level, seed, lost(epsilon, level) + 1e-3 * rng.normal(), **settings)
        for epsilon in (0.5, 3.0, 8.0)
        for level in LEVELS
        for seed in range(3)
    ]


def explained(lost):
    return wae.explained(wae.runs_of(map(factory.typed, records_of(lost))))


def test_what_only_the_walk_moves_is_explained_by_the_walk():
    found = explained(lambda epsilon, level: 0.05 + 0.05 * np.log(level / 0.01))
    assert found["walk"] > 0.99 and found["walk_low"] > 0.99
    assert found["epsilon"] < 0.2 and found["p"] > 0.01
    assert found["runs"] == 36


def test_what_only_epsilon_moves_is_explained_by_epsilon():
    found = explained(lambda epsilon, level: 0.05 * epsilon**0.5)
    assert found["epsilon"] > 0.99 and found["walk"] < 0.2
    assert found["p"] < 1e-6


def test_partial_r2_of_one_term_is_the_squared_partial_correlation():
    rng = np.random.default_rng(1)
    y, a, b = rng.normal(size=(3, 40))
    design = np.column_stack([np.ones(40), a])

    def rest(v):
        return v - design @ np.linalg.solve(design.T @ design, design.T @ v)

    expected = np.corrcoef(rest(y), rest(b))[0, 1] ** 2
    assert wae.partial_r2(y, a[:, None], b[:, None]) == pytest.approx(expected)


def test_runs_with_little_left_to_lose_are_shown_and_not_in_the_fit():
    good = records_of(lambda epsilon, level: level)
    study = factory.study_of(*good, *[run(3.0, 0.32, seed, 0.0, test=0.3) for seed in range(3)])
    frame = wae.WalkAgainstEpsilon().frame(study)
    assert len(frame) == 13 and frame.attrs["explained"]["runs"] == 36
    assert frame.query("epsilon == 3 and level == 0.04")["walk"].item() == pytest.approx(0.04)
    (note,) = wae.WalkAgainstEpsilon().notes(frame)
    assert "partial R^2 over 36 runs" in note
    (plot,) = wae.WalkAgainstEpsilon().plots(study)
    assert len(plot.draw().axes[0].lines) == 3


def test_the_control_is_shown_and_has_no_part_in_the_fit():
    control = factory.make_run(row="", test=0.7, label="walk-control-s_0.04")
    control["faults"] = {"weights": campaign("weights", 0.7, 0.3)}
    study = factory.study_of(*records_of(lambda epsilon, level: level), control)
    frame = wae.WalkAgainstEpsilon().frame(study)
    assert frame.attrs["explained"]["runs"] == 36
    assert frame.iloc[-1][["walk", "weights_10"]].tolist() == pytest.approx([0.04, 0.3])
    assert wae.WalkAgainstEpsilon().table(study).rows[-1].cells[0] == "natural, noise added"


def test_nothing_is_stated_before_each_epsilon_has_four_levels():
    few = [record for record in records_of(lambda e, s: s) if "0.08" not in record["name"]]
    frame = wae.WalkAgainstEpsilon().frame(factory.study_of(*few))
    assert frame.attrs["explained"] is None
    assert "once every epsilon has runs" in wae.WalkAgainstEpsilon().notes(frame)[0]


def test_the_runs_are_in_no_other_table():
    study = factory.study_of(*records_of(lambda e, s: s))
    assert wae.WalkAgainstEpsilon().parts(study) and not wae.WalkAgainstEpsilon().parts(
        factory.study_of()
    )
    assert not study.records and len(study.aside) == 36 and not study.groups
