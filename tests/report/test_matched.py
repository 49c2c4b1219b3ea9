"""Matched runs: who is paired with whom, and where a curve of training passes a level."""

import pytest
from factory import study_of, typed

from ft_tf.effects.runs import Trained
from ft_tf.report import table
from ft_tf.report.exhibits import ablations, equal_training

HISTORY = {
    "epoch": [1, 2, 3, 4],
    "train_accuracy": [0.80, 0.90, 0.95, 0.99],
    "test_accuracy": [0.79, 0.86, 0.87, 0.88],
}


def at(record, train):
    """Epoch and gap, as fractions."""
    found = Trained(typed(record)).where_trained_to(100 * train)
    return found and (pytest.approx(found[0]), pytest.approx(found[1] / 100))


def trades(run, **changes):
    return run(row="table_5/fmnist_dnn/trades", algorithm="trades", **changes)


def test_the_gap_is_interpolated_to_the_level(run):
    """After the first epoch above 91%, which ends at 95%, it is 8 points: of a better fit."""
    record = run(history=HISTORY)
    assert at(record, 0.90) == (2, 0.04)
    assert at(record, 0.91) == (2.2, 0.04 + 0.2 * 0.04)
    assert at(record, 0.999) is None
    assert at(record, 0.80) == (1, 0.01)
    assert at(record, 0.79) is None  # passed before anything was measured
    assert at(run(history={"epoch": [1], "accuracy": [0.9]}), 0.5) is None


def test_epochs_that_were_not_measured_are_stepped_over(run):
    history = {
        "epoch": [1, 2, 3],
        "train_accuracy": [0.8, None, 1.0],
        "test_accuracy": [0.8, None, 0.9],
    }
    assert at(run(history=history), 0.9) == (2, 0.05)


def test_a_level_that_is_passed_twice_counts_at_first(run):
    history = {
        "epoch": [1, 2, 3, 4],
        "train_accuracy": [0.8, 0.9, 0.7, 0.95],
        "test_accuracy": [0.8, 0.88, 0.7, 0.9],
    }
    assert at(run(history=history), 0.85) == (1.5, 0.01)


def test_a_short_robust_training_stands_beside_the_natural_one_at_its_level(run):
    records = [
        trades(run, train=0.91, test=0.86, history={}),
        run(train=0.99, test=0.88, history=HISTORY),
    ]
    records[0]["best_checkpoint"] = {
        "epoch": 3,
        "test_accuracy": 0.85,
        "robust_accuracy": 0.6,
        "attack_steps": 50,
        "selected_on": "other images",
    }
    (line,) = equal_training.EqualTraining().frame(study_of(*records)).to_dict("records")
    assert line["generalization_error"] == pytest.approx(0.05)
    assert line["natural_generalization_error"] == pytest.approx(0.11)
    assert line["natural_epoch"] == pytest.approx(2.2)
    assert line["natural_generalization_error_there"] == pytest.approx(0.048)
    assert line["difference_there"] == pytest.approx(0.002)
    assert (line["best_epoch"], line["best_robust"], line["best_attack"]) == (3, 0.6, "PGD-50")


def test_table_6_is_compared_to_the_natural_row_of_table_4(run):
    cifar = {"architecture": "cifar10_cnn", "dataset": "cifar10"}
    records = [
        run(row="table_6/cifar10_cnn/trades/2_255", algorithm="trades", **cifar),
        run(row="table_4/cifar10_cnn/natural", **cifar),
        run(row="table_4/cifar10_cnn/natural", **cifar, label="augmented"),
    ]
    records[2]["config"]["augment"] = True
    ((row, robust, natural),) = equal_training.robust_pairs(study_of(*records))
    assert row == "table_6/cifar10_cnn/trades/2_255"
    assert natural.names == records[1]["name"]
    assert robust.names == records[0]["name"]


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
    (group,) = study_of(*records).by_row[STOPPED]
    assert len(group.samples) == 3
    elsewhere = [stopped(paper_run, seed=seed, test=0.79) for seed in range(2)]
    for record in elsewhere:
        record["rows"] = []
    assert len({g.key for gs in study_of(*elsewhere).by_row.values() for g in gs}) == 2


@pytest.mark.parametrize("changes", [{"architecture": "fmnist_cnn_1"}, {"train_examples": 60_000}])
def test_partners_share_data_and_architecture(paper_run, changes):
    other = paper_run(row=STOPPED, seed=0, test=0.8, **changes)
    (entry,) = ablations.private_rows(study_of(private(paper_run, seed=0, test=0.8), other))
    assert entry.stopped is None


def test_ablations_follow_their_row(private_study):
    frame = ablations.Ablations().frame(study_of(*private_study))
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


def test_an_ablation_whose_training_broke_down_says_so(private_study):
    noise_only = next(run for run in private_study if "dpsgd_noise_only" in run["rows"][0])
    noise_only["history"] = {"epoch": [1.0, 2.0], "train_accuracy": [0.9, 0.1]}
    frame = ablations.Ablations().frame(study_of(*private_study))
    told = frame["breakdowns"].tolist()
    assert [bool(text) for text in told] == [part == "its noise alone" for part in frame["part"]]
    assert "1 of 3 trainings broke down in epoch 2" in table.markdown(
        ablations.Ablations().table(study_of(*private_study))
    )


def test_without_ablations_there_is_no_block(paper_run):
    records = [private(paper_run, seed=0, test=0.8), paper_run(row="table_8/fmnist_dnn/natural")]
    assert not len(ablations.Ablations().frame(study_of(*records)))


def test_a_fitted_variant_of_a_row_has_no_partners(paper_run):
    """The stopped runs have the accuracy of the row itself, not of what was fitted to the paper."""
    row, fitted = (private(paper_run, seed=0, test=test) for test in (0.72, 0.79))
    fitted["config"] |= {"fitted": True, "learning_rate": 0.05}
    (entry,) = ablations.private_rows(study_of(row, fitted, stopped(paper_run, seed=0, test=0.72)))
    assert [record.config["fitted"] for record in entry.private.finished] == [False]
