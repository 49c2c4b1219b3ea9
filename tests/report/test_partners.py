"""Partners of DP rows: who stands beside whom, and paired differences by hand."""

import itertools

import pytest

from ft_tf.report import partners, render, views
from ft_tf.report.groups import groups_by_row

DP = "table_8/fmnist_dnn/dpsgd/0.49"
STOPPED = "table_8/fmnist_dnn/natural_stopped/0.49"


def stopped(paper_run, *, seed, test, shift=0.6, architecture="fmnist_dnn"):
    record = paper_run(
        row=STOPPED, seed=seed, test=test, shift=shift, architecture=architecture, label="as_0.49"
    )
    record["config"]["stop_at_test_accuracy"] = test - 0.001 * (1 + seed)
    return record


def private(paper_run, *, seed, test, shift=0.4):
    return paper_run(
        row=DP,
        algorithm="dpsgd",
        options={"noise_multiplier": 5.0},
        seed=seed,
        test=test,
        shift=shift,
    )


def test_seeds_that_stopped_at_their_partners_accuracy_are_one_group(paper_run):
    records = [stopped(paper_run, seed=seed, test=0.79 + seed / 100) for seed in range(3)]
    (group,) = groups_by_row(records)[STOPPED]
    assert len(group.samples) == 3
    elsewhere = [stopped(paper_run, seed=seed, test=0.79) for seed in range(2)]
    for record in elsewhere:
        record["rows"] = []
    assert len({g.key for gs in groups_by_row(elsewhere).values() for g in gs}) == 2


def test_differences_are_paired_by_seed(paper_run):
    """Differences at 50%: (0.79 - 0.1) - (0.80 - 0.15) = 0.04, likewise 0.07 and 0.10: s = 0.03."""
    records = [
        private(paper_run, seed=0, test=0.79),
        private(paper_run, seed=1, test=0.82),
        private(paper_run, seed=2, test=0.85),
        private(paper_run, seed=7, test=0.5),  # no partner of its seed
        stopped(paper_run, seed=2, test=0.80),
        stopped(paper_run, seed=1, test=0.80),
        stopped(paper_run, seed=0, test=0.80),
    ]
    line = partners.equal_accuracy_frame(records).to_dict("records")[0]
    assert (line["target"], line["replicates"]) == ("weights", 3)
    assert line["at_50_difference"] == pytest.approx(0.07)
    assert line["at_50_low"] == pytest.approx(0.07 - 4.3026527 * 0.03 / 3**0.5, abs=1e-7)
    assert line["test_private"] == pytest.approx(0.82)
    assert line["test_difference"] == pytest.approx(0.02)
    # kept: 1 - shift * (mean of rate^2 over 0 to 0.9, by trapezoids) / (test - 0.1)
    rates = records[0]["faults"]["weights"]["rates"]
    area = sum((b - a) * (a * a + b * b) / 2 for a, b in itertools.pairwise(rates))
    kept = [1 - 0.4 * area / 0.9 / (test - 0.1) for test in (0.79, 0.82, 0.85)]
    assert line["kept_private"] == pytest.approx(sum(kept) / 3)


def test_one_pair_has_no_interval_and_unequal_accuracy_is_said(paper_run):
    records = [private(paper_run, seed=0, test=0.79), stopped(paper_run, seed=0, test=0.85)]
    frame = partners.equal_accuracy_frame(records)
    line = frame.to_dict("records")[0]
    assert line["at_50_low"] is None or line["at_50_low"] != line["at_50_low"]
    view = views.equal_accuracy(frame)
    assert "NOT EQUAL" in view.details[0]
    near = [private(paper_run, seed=0, test=0.79), stopped(paper_run, seed=0, test=0.795)]
    assert "NOT EQUAL" not in views.equal_accuracy(partners.equal_accuracy_frame(near)).details[0]


@pytest.mark.parametrize("changes", [{"architecture": "fmnist_cnn_1"}, {"train_examples": 60_000}])
def test_partners_share_data_and_architecture(paper_run, changes):
    other = paper_run(row=STOPPED, seed=0, test=0.8, **changes)
    records = [private(paper_run, seed=0, test=0.8), other]
    assert not len(partners.equal_accuracy_frame(records))


def test_arms_stand_beside_their_row(private_study):
    frame = partners.arms_frame(private_study)
    assert frame["part"].tolist() == [
        "natural",
        "Tikhonov",
        "control: dropout",
        "control: faults in training",
        "clipping alone",
        "DP-SGD, noise multiplier 5",
        "its noise alone",
        "natural, stopped at its accuracy",
        "DP-SGD, noise multiplier 1.1",
        "natural, stopped at its accuracy",
    ]
    rows = frame["row"].tolist()
    assert rows[5:8] == [DP, "table_8/fmnist_dnn/dpsgd_noise_only/0.49", STOPPED]
    line = frame.to_dict("records")[5]
    assert line["weights_50"] == pytest.approx(line["test"] - 0.4 * 0.25)
    assert line["replicates"] == 3
    assert set(frame["records"].str.split().str.len()) == {3}


def test_an_arm_whose_training_broke_down_says_so(private_study):
    noise_only = next(run for run in private_study if "dpsgd_noise_only" in run["rows"][0])
    noise_only["history"] = {"epoch": [1.0, 2.0], "train_accuracy": [0.9, 0.1]}
    frame = partners.arms_frame(private_study)
    told = frame["breakdowns"].tolist()
    assert [bool(text) for text in told] == [part == "its noise alone" for part in frame["part"]]
    assert "1 of 3 trainings broke down in epoch 2" in render.markdown(views.arms(frame))


def test_without_arms_there_is_no_block(paper_run):
    records = [private(paper_run, seed=0, test=0.8), paper_run(row="table_8/fmnist_dnn/natural")]
    assert not len(partners.arms_frame(records))


def test_a_fitted_variant_of_a_row_has_no_partners(paper_run):
    """The stopped runs have the accuracy of the row itself, not of what was fitted to the paper."""
    row, fitted = (private(paper_run, seed=0, test=test) for test in (0.72, 0.79))
    fitted["config"] |= {"fitted": True, "learning_rate": 0.05}
    (entry,) = partners.private_rows([row, fitted, stopped(paper_run, seed=0, test=0.72)])
    assert entry.private.finished == (row,)
