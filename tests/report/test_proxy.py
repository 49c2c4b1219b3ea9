"""Plan "proxy": granulated tau by brute force, and the table of predictors."""

import itertools

import factory
import numpy as np
import pandas as pd
import pytest
from test_private_remedies import campaign

from ft_tf import effects
from ft_tf.report.exhibits import agreement, claims, proxy

GRID = list(itertools.product((0.05, 0.15), (64, 250), (0.0, 1e-3), (0.0, 0.5), (256, 512)))


def brute_force(frame, predictor, outcome):
    """Jiang et al. (2020): psi_i over axes, each a mean over groups of Kendall's tau."""
    of_axes = []
    for axis in proxy.AXES:
        others = [name for name in (*proxy.AXES, "seed") if name != axis]
        taus = []
        for _, group in frame.groupby(others):
            pairs = list(itertools.combinations(range(len(group)), 2))
            if pairs:
                x, y = group[predictor].tolist(), group[outcome].tolist()
                signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in pairs]
                taus.append(np.mean(signs))
        of_axes.append(np.mean(taus))
    return np.mean(of_axes)


def test_granulated_tau_is_that_of_the_definition():
    rng = np.random.default_rng(3)
    grid = itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 3), (0, 1), (0, 1), (0, 1))
    frame = pd.DataFrame(grid, columns=[*proxy.AXES, "seed"])
    frame["x"], frame["y"] = rng.normal(size=(2, len(frame)))
    frame = frame.sample(frac=0.8, random_state=1).reset_index(drop=True)
    pairs = proxy.pair_weights(frame)
    found = proxy.granulated_tau(frame["x"].to_numpy(), frame["y"].to_numpy(), pairs)
    assert found == pytest.approx(brute_force(frame, "x", "y"))
    tied = np.full(len(frame), 0.1) + np.resize([0.2, 0.2 + 1e-16, 0.2 - 1e-16], len(frame))
    assert len({*tied}) > 1 and proxy.granulated_tau(tied, frame["y"].to_numpy(), pairs) == 0
    twice = np.full((4, len(frame)), 2)
    repeated = proxy.granulated_tau(frame["x"].to_numpy(), frame["y"].to_numpy(), pairs, twice)
    assert repeated == pytest.approx([found] * 4)


def record(reading, rate, batch, l2, dropout, width, *, gap, lost, epochs=20, train=0.9):
    name = f"rate_{rate:g}-batch_{batch}-l2_{l2:g}-dropout_{dropout:g}-width_{width}"
    made = factory.make_run(row="", algorithm="natural", seed=0, test=train - gap)
    made["config"] |= {"label": f"proxy-{reading}-{name}", "epochs": 20}
    made["name"] = f"{reading}-{name}"
    made["training"] = {"epochs": epochs, "steps": 100}
    made["accuracy"] |= {"train": train, "test": train - gap, "generalization_error": gap}
    rates = (0.0, 0.01, 0.1, 0.5, 0.9)
    made["faults"] = {"weights": campaign("weights", train - gap, lost)}
    made["predictors"] = {"margin": 1.0 - lost, "sharpness": 0.5}
    assert tuple(made["faults"]["weights"]["rates"]) == rates
    return made


def study(reading="end", **settings):
    rng = np.random.default_rng(5)
    lost = rng.uniform(0.05, 0.3, len(GRID))
    gaps = rng.uniform(0.01, 0.1, len(GRID))
    cells = zip(GRID, gaps, lost, strict=True)
    return factory.study_of(
        *[record(reading, *cell, gap=gap, lost=loss, **settings) for cell, gap, loss in cells]
    )


def test_there_is_no_answer_before_all_configurations_have_run(monkeypatch):
    assert proxy.gap_at_end(proxy.compared(study().aside)) is None
    (note,) = proxy.Proxy().notes(proxy.Proxy().frame(study()))
    assert "over 32 networks." in note and "Not all of the 108" in note
    assert "by the plan" not in note
    monkeypatch.setattr(proxy, "CONFIGURATIONS", len(GRID))
    found = proxy.gap_at_end(proxy.compared(study().aside))
    assert found["predictor"] == "gap" and found["replicates"] == len(GRID)
    # The one predictor here that orders the networks as their losses do.
    assert (found["best"]["name"], found["predictors"]) == ("margin", 6)
    tables = effects.noise_walk([]), agreement.agreement([])
    sentence, _ = claims.sentences([], *tables, proxy=found)
    assert sentence.startswith("Within one network the gap is no useful proxy")
    best = "margin predicts best: the higher, the less is lost (-1.00 [-1.00, -1.00] by Bonferroni)"
    assert f"Of 6 numbers that need no faults {best}" in sentence
    assert "Flat minima are no guide: sharpness has +0.00 [+0.00, +0.00]." in sentence
    settled = found | {"low": 0.6, "high": 0.7}
    sentence, _ = claims.sentences([], *tables, proxy=settled)
    assert sentence.startswith("Within one network the gap is a proxy for fault")
    one_failed = proxy.compared(study().aside[1:])
    assert proxy.gap_at_end(one_failed) is None


def test_a_predictor_that_orders_the_networks_beats_the_gap(monkeypatch):
    monkeypatch.setattr(proxy, "CONFIGURATIONS", len(GRID))
    frame = proxy.Proxy().frame(study()).set_index("predictor")
    assert list(frame.index[:2]) == ["gap", "test"]
    margin = frame.loc["margin"]
    assert margin.tau == pytest.approx(-1) and margin.against_gap == "beats the gap"
    assert frame.loc["sharpness"].tau == 0  # all ties
    assert abs(frame.loc["gap"].tau) < 0.5
    gap = frame.loc["gap"]
    assert gap.low_of_all < gap.low < gap.tau < gap.high < gap.high_of_all
    (note,) = proxy.Proxy().notes(proxy.Proxy().frame(study()))
    assert "over 32 networks, no proxy by the plan" in note
    lost = 100 * np.random.default_rng(5).uniform(0.05, 0.3, len(GRID))  # as in `study`
    least, most = lost.min(), lost.max()
    assert f"10% weights {least:.1f} to {most:.1f}, margin -1.00 [-1.00, -1.00]; 1% weights" in note
    cells = [cell for row in proxy.Proxy().table(study()).rows for cell in row.cells]
    assert "[-1.00, -1.00]" in cells  # the margin's: the interval of a tau is no percentage
    (plot,) = proxy.Proxy().plots(study())
    (axes,) = plot.draw().axes
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["gap", "test accuracy"]


def test_the_gap_s_taus_by_setting_are_the_terms_of_the_mean(monkeypatch):
    monkeypatch.setattr(proxy, "CONFIGURATIONS", len(GRID))
    runs = proxy.runs_of(study().aside)
    taus = proxy.gap_by_axis(runs)
    assert list(taus) == list(proxy.AXES.values())
    assert np.mean([*taus.values()]) == pytest.approx(brute_force(runs, "gap", "weights_10"))
    wide, narrow = (runs[runs["width"].eq(width)] for width in ("512", "256"))
    keys = ["rate", "batch", "l2", "dropout"]
    sides = narrow.merge(wide, on=keys)
    agree = np.sign(sides["gap_x"] - sides["gap_y"]) * np.sign(
        sides["weights_10_x"] - sides["weights_10_y"]
    )
    assert taus["width"] == pytest.approx(agree.mean())
    (note,) = proxy.Proxy().notes(proxy.Proxy().frame(study()))
    assert f"dropout {taus['dropout']:.2f}, width {taus['width']:.2f}." in note


def test_a_stopped_training_that_never_got_there_is_named_and_left_out(monkeypatch):
    assert len(proxy.runs_of(study("stopped", epochs=7, train=0.87).aside)) == len(GRID)
    missed = proxy.runs_of(study("stopped", epochs=20, train=0.87).aside)
    assert not len(missed) and len(missed.attrs["left_out"]) == len(GRID)
    some = study("stopped", epochs=7).aside[1:]
    one = record("stopped", *GRID[0], gap=0.05, lost=0.1, train=0.87)
    monkeypatch.setattr(proxy, "CONFIGURATIONS", len(GRID) - 1)
    both = factory.study_of(one)
    both.aside += some
    (note,) = proxy.Proxy().notes(proxy.Proxy().frame(both))
    assert note.endswith(f"did not reach 88%: {one['name']}.")
    assert not proxy.Proxy().parts(factory.study_of())
