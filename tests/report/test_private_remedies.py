"""Plan "remedies": cells against plain DP-SGD, by numbers worked out by hand."""

import math

import factory
import pandas as pd
import pytest
from scipy import stats

from ft_tf import effects, records
from ft_tf.effects.runs import Trained
from ft_tf.report.exhibits import agreement, claims
from ft_tf.report.exhibits import private_remedies as remedies

RATES = (0.0, 0.01, 0.1, 0.5, 0.9)


def campaign(target, test, lost):
    """Faults that take `lost` from 10% on, and a tenth of it at 1%."""
    made = factory.campaign(target, RATES, test, 0.0)
    means = [test, test - lost / 10, *[test - lost] * 3]
    return {**made, "mean": means, "low": means, "high": means}


def private_run(cell, seed, *, test, lost, averaged=None, **config):
    record = factory.make_run(
        row="", algorithm="dpsgd", seed=seed, test=test, label=f"remedies-0.49-{cell}"
    )
    record["config"] |= {"epochs": 4, "momentum": 0.0, **config}
    record["training"] = {"epochs": 4, "steps": 100}
    record["faults"] = {"weights": campaign("weights", test, lost)}
    if averaged:
        better, less = averaged
        record["averaged"] = {
            "kind": "tail",
            "accuracy": {
                **record["accuracy"],
                "train": better,
                "test": better,
                "generalization_error": 0.0,
            },
            "parameters": record["parameters"],
            "faults": {"weights": campaign("weights", better, less)},
        }
    return record


PLAIN_LOST = (0.20, 0.21, 0.22)


def frame_of(decay_lost, *, decay_test=0.80, averaged=None):
    plain = [
        private_run("plain", seed, test=0.81, lost=lost, averaged=averaged)
        for seed, lost in enumerate(PLAIN_LOST)
    ]
    decay = [
        private_run("decay_0.012", seed, test=decay_test, lost=lost, weight_decay=0.012)
        for seed, lost in enumerate(decay_lost)
    ]
    frame = remedies.PrivateRemedies().frame(factory.study_of(*plain, *decay))
    return frame.set_index(["cell", "averaged"]).sort_index()


def test_differences_are_paired_by_seed():
    line = frame_of([0.05, 0.04, 0.06]).loc[("decay_0.012", False)]
    found = stats.ttest_1samp([-0.15, -0.17, -0.16], 0)
    assert line["weights_10"] == pytest.approx(0.05)
    assert line["weights_1"] == pytest.approx(0.005)
    assert line["difference"] == pytest.approx(-0.16)
    assert line["cost"] == pytest.approx(-0.01)
    assert line["p"] == pytest.approx(found.pvalue)
    assert line["p_holm"] == pytest.approx(17 * found.pvalue)  # what the plan compares
    assert (line["low"], line["high"]) == pytest.approx(tuple(found.confidence_interval()))


def test_a_cnn_s_plain_training_is_that_of_table_7_and_partners_are_stopped_natural_ones():
    cells = [("dropout", 0.30), ("table 7", 0.45), ("stopped", 0.10), ("of 2.97", 0.5)]
    made = {cell: private_run(cell, 0, test=0.7, lost=lost) for cell, lost in cells}
    changes = {
        "dropout": ("remedies_cnn-0.49-dropout", []),
        "table 7": ("table_7-paper", ["table_7/fmnist_cnn/dpsgd/0.49"]),
        "stopped": ("table_7-paper-as_0.49", ["table_7/fmnist_cnn/natural_stopped/0.49"]),
        "of 2.97": ("table_7-paper", ["table_7/fmnist_cnn/dpsgd/2.97"]),
    }
    for cell, (label, rows) in changes.items():
        made[cell]["config"] |= {"label": label, "rows": rows, "architecture": "fmnist_cnn_1"}
        made[cell] |= {"rows": rows, "name": f"run of {cell}"}
    study = factory.study_of(*made.values())
    frame = remedies.PrivateRemedies().frame(study)
    found = dict(zip(frame["cell"], frame["records"], strict=True))
    assert found == {"plain": "run of table 7", "dropout": "run of dropout"}
    assert frame.set_index("cell").loc["dropout", "difference"] == pytest.approx(-0.15)
    (natural,) = frame.attrs["natural"]
    assert natural["weights_10"] == pytest.approx(0.10)
    (note,) = remedies.PrivateRemedies().notes(frame)
    assert "loses 10.0 points at 70.0% (CNN 1, epsilon" in note
    assert remedies.compared([records.from_dict(made["table 7"], where="run")]).empty


def test_holm_counts_what_the_plan_of_the_network_compares():
    study = [
        private_run(cell, seed, test=0.8, lost=lost)
        for cell, losses in {"plain": PLAIN_LOST, "dropout": (0.05, 0.04, 0.06)}.items()
        for seed, lost in enumerate(losses)
    ]
    for record in study:
        record["config"] |= {"label": record["config"]["label"].replace("remedies", "remedies_cnn")}
    frame = remedies.PrivateRemedies().frame(factory.study_of(*study)).set_index("cell")
    line = frame.loc["dropout"]
    assert line["p_holm"] == pytest.approx(4 * line["p"]) and line["missing"] == 3


def test_averages_of_iterates_are_cells_of_their_own():
    frame = frame_of([0.05, 0.04, 0.06], averaged=(0.82, 0.15))
    line = frame.loc[("plain", True)]
    assert (line["test"], line["weights_10"]) == pytest.approx((0.82, 0.15))
    assert (line["difference"], line["cost"]) == pytest.approx((-0.06, 0.01))
    p = sorted(frame["p"].dropna())
    assert sorted(frame["p_holm"].dropna()) == pytest.approx([17 * p[0], max(17 * p[0], 16 * p[1])])


@pytest.mark.parametrize(
    ("decay_lost", "decay_test", "outcome"),
    [
        ((0.05, 0.04, 0.06), 0.79, "recommended"),
        ((0.05, 0.04, 0.06), 0.77, "gives back, costs too much"),
        ((0.16, 0.175, 0.175), 0.80, ""),  # 4 points: less than the smallest effect of interest
        ((0.05, 0.19, 0.03), 0.80, ""),  # the interval reaches 0
        ((0.30, 0.31, 0.325), 0.80, "more lost"),
        ((0.05, 0.04), 0.80, ""),  # two seeds allow no judgement
    ],
)
def test_the_plans_rule(decay_lost, decay_test, outcome):
    frame = frame_of(decay_lost, decay_test=decay_test)
    assert frame.loc[("decay_0.012", False), "outcome"] == outcome
    assert frame.loc[("plain", False), "outcome"] == ""


def test_the_finding_names_the_most_accurate_remedy_that_gives_enough_back():
    study = [
        private_run(cell, seed, test=test, lost=lost + seed / 100, weight_decay=decay)
        for seed in range(3)
        for cell, test, lost, decay in [
            ("plain", 0.81, 0.20, 0.0), ("decay_0.012", 0.79, 0.05, 0.012),
            ("decay_0.004", 0.80, 0.0613, 0.004), ("decay_0.001", 0.81, 0.19, 0.001),
        ]
    ]  # fmt: skip
    study[5]["faults"]["weights"] = campaign("weights", 0.79, 0.0601)  # not all differences equal
    study[6]["faults"]["weights"] = campaign("weights", 0.80, 0.0715)
    typed = [factory.typed(record) for record in study]
    ((line, plain),) = remedies.promising(typed)
    assert (line["cell"], plain["cell"]) == ("decay_0.004", "plain")
    walk, rows = effects.noise_walk([]), agreement.agreement([])
    sentence = claims.sentences([], walk, rows, [(line, plain)])[0]
    assert "from 21.0 points to 7.1, test accuracy from 81.0% to 80.0% (lambda 0.004;" in sentence
    assert "3 seeds" in sentence and "clipping takes what DP-SGD loses" in sentence
    assert "Least is lost with decay 0.012: 6.0 points at 79.0%." in sentence
    assert "Natural training" not in sentence
    line["natural_lost"] = 0.0123
    sentence = claims.sentences([], walk, rows, [(line, plain)])[0]
    assert sentence.endswith("Natural training stopped at plain DP-SGD's accuracy loses 1.2.")
    assert "has not run counts in Holm's test" in sentence
    line["missing"], line["p_holm"] = 0, 0.06
    sentence = claims.sentences([], walk, rows, [(line, plain)])[0]
    assert "clipping may take what" in sentence and "p 0.06 by Holm)" in sentence


def test_a_finding_on_another_remedy_than_decay_has_its_value_from_the_records():
    study = [
        private_run(cell, seed, test=test, lost=lost + seed / 100, learning_rate=rate)
        for seed in range(3)
        for cell, test, lost, rate in [
            ("plain", 0.81, 0.20, 0.15), ("decay_0.012", 0.79, 0.05, 0.15),
            ("small_rate", 0.84, 0.06, 0.04),
        ]
    ]  # fmt: skip
    study[4]["faults"]["weights"] = campaign("weights", 0.79, 0.0601)  # not all differences equal
    study[5]["faults"]["weights"] = campaign("weights", 0.84, 0.0715)
    ((line, plain),) = remedies.promising(map(factory.typed, study))
    assert line["cell"] == "small_rate"
    found = claims.sentences([], effects.noise_walk([]), agreement.agreement([]), [(line, plain)])
    (sentence,) = [text for text in found if "DP-SGD loses" in text]
    assert sentence.startswith("A learning rate of 0.04, not 0.15, ")
    assert "On " not in sentence
    cnn = [
        private_run("small_rate", 0, test=0.72, lost=0.31),
        private_run("plain", 0, test=0.70, lost=0.50),
    ]
    labels = ("remedies_cnn-0.49-small_rate", "table_7-paper")
    for run, label in zip(cnn, labels, strict=True):
        rows = ["table_7/fmnist_cnn/dpsgd/0.49"] if label == "table_7-paper" else []
        run["config"] |= {"label": label, "rows": rows, "architecture": "fmnist_cnn_1"}
        run |= {"rows": rows, "name": label}
    ((line, plain),) = remedies.promising(map(factory.typed, [*study, *cnn]))
    found = claims.sentences([], effects.noise_walk([]), agreement.agreement([]), [(line, plain)])
    on_cnn = (
        "On CNN 1 less is given back: of 50.0 points are left 31.0 with small rate (test accuracy "
        "+2.0, 1 seed)."
    )
    assert any(on_cnn in sentence for sentence in found)
    assert "test accuracy from 81.0% to 84.0%" in sentence and "lambda" not in sentence


def walk_of(**config):
    run = private_run("plain", 0, test=0.8, lost=0.1, **config)
    run["config"]["algorithm"] |= {"noise_multiplier": 5.0, "l2_norm_clip": 0.5}
    return Trained(records.from_dict(run, where="run")).walk


def test_the_walk_of_the_noise():
    """lr sigma C / L = 0.1 x 5 x 0.5 / 250 = 0.001 a step, 100 steps."""
    assert walk_of() == pytest.approx(0.001 * math.sqrt(100))
    settled = walk_of(weight_decay=3.0)  # (1 - 0.3)^200 is nothing
    assert settled == pytest.approx(0.001 / math.sqrt(1 - 0.7**2))
    # 25 steps, then 75 at a tenth of the rate
    assert walk_of(learning_rate_drops=[[1, 0.1]]) == pytest.approx(0.001 * math.sqrt(25 + 0.75))
    two = walk_of(learning_rate_drops=[[3, 0.0]], weight_decay=1.0)
    assert two == pytest.approx(0.001 * math.sqrt(sum(0.9 ** (2 * k) for k in range(75))))


def test_the_figure_has_a_mark_for_each_cell():
    frame = frame_of([0.05, 0.04, 0.06], averaged=(0.82, 0.15)).reset_index()
    (panel,) = remedies.draw_remedies(frame).axes[:1]
    marks = [line for line in panel.lines if line.get_marker() == "o"]
    places = sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in marks)
    for place, wanted in zip(places, [(80, 5), (81, 21), (82, 15)], strict=True):
        assert place == pytest.approx(wanted)


def test_predictions_of_the_deviation_by_hand():
    """Plain: 0.5 = sqrt(0.3^2 + 0.4^2), so clipping alone leaves 0.3."""
    lines = [
        ("plain", False, 0.5, 0.4),
        ("decay_0.01", False, 0.15, 0.1),
        ("decay_0.01", True, 9.0, None),
    ]
    frame = pd.DataFrame(lines, columns=["cell", "averaged", "deviation", "walk"])
    found = remedies.deviation_errors(frame.assign(architecture="a", level="0.49"))
    assert len(found) == 1
    assert found["noise"][0] == pytest.approx(0.5)
    assert found["plan"][0] == pytest.approx(0.15 / math.sqrt(0.1) - 1)
