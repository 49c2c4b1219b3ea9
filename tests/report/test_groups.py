"""What is pooled, and what must never be."""

import pytest

from ft_tf.report import labels
from ft_tf.report.groups import breakdowns_of, groups_by_row, rows_of

ROW = "table_5/fmnist_dnn/natural"


def test_seeds_of_one_configuration_are_one_group(run):
    (group,) = groups_by_row([run(seed=seed, train=0.9 + seed / 100) for seed in (2, 0, 1)])[ROW]
    assert group.samples.train == (0.9, 0.91, 0.92)
    assert group.samples.unit == "training seed"


def test_noise_seeds_differ_within_a_group(run):
    row = "table_8/fmnist_dnn/dpsgd/2.97"
    (group,) = groups_by_row([run(row=row, algorithm="dpsgd", seed=s) for s in range(2)])[row]
    assert len(group.samples) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": "normalized"}, "label normalized"),
        ({"architecture": "fmnist_cnn_1"}, "architecture fmnist_cnn_1"),
        ({"deviations": ("epochs 20 of 60",)}, "deviations epochs 20 of 60"),
        ({"train_examples": 60000}, "fingerprint 983183ad9ee3"),
        ({"fitted": True}, "fitted True"),
    ],
)
def test_other_settings_are_variants_that_say_how_they_differ(run, changes, words):
    groups = groups_by_row([run(), run(seed=1, **changes)])[ROW]
    assert [len(group.samples) for group in groups] == [1, 1]
    assert any(words in text for text in labels.variants(groups))


def test_options_of_the_algorithm_are_told_apart(run):
    row = "table_5/fmnist_dnn/trades"
    groups = groups_by_row(
        [
            run(row=row, algorithm="trades"),
            run(row=row, algorithm="trades", options={"beta": 6.0}, seed=1),
        ]
    )[row]
    assert sorted(labels.variants(groups)) == ["beta 1", "beta 6"]


def _with_training_accuracies(record, *accuracies):
    epochs = [float(epoch) for epoch in range(1, len(accuracies) + 1)]
    return {**record, "history": {"epoch": epochs, "train_accuracy": list(accuracies)}}


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ((0.5, 0.9, 0.1, 0.1, 0.8), "training broke down in epoch 3"),
        ((0.5, 0.9, 0.449, 0.9), "training broke down in epoch 3"),
        ((0.5, 0.9, 0.451, 0.9), ""),
        ((0.1, 0.1, 0.1), ""),
        ((), ""),
    ],
)
def test_a_training_breaks_down_below_half_of_what_it_had(run, accuracies, words):
    (group,) = groups_by_row([_with_training_accuracies(run(), *accuracies)])[ROW]
    assert breakdowns_of(group) == words


def test_without_a_curve_no_training_is_said_to_have_broken_down(run):
    (group,) = groups_by_row([{**run(), "history": {"epoch": [1.0, 2.0], "loss": [0.5, 99.0]}}])[
        ROW
    ]
    assert breakdowns_of(group) == ""


def test_of_several_trainings_those_that_broke_down_are_counted(run):
    histories = [(0.9, 0.1), (0.8, 0.9), (0.8, 0.9, 0.2)]
    records = [
        _with_training_accuracies(run(seed=seed), *history)
        for seed, history in enumerate(histories)
    ]
    (group,) = groups_by_row(records)[ROW]
    assert breakdowns_of(group) == "2 of 3 trainings broke down in epoch 2 and epoch 3"


def test_forms_of_the_circles_study_stay_apart(circles, circles_results):
    fixed = circles(results=circles_results)
    redrawn = circles(results=circles_results, form="redrawn_data", name="r")
    redrawn["data"] = {**redrawn["data"], "fingerprint": "e" * 64}
    groups = groups_by_row([fixed, redrawn])["table_3/circles_mlp/natural"]
    assert [group.samples.unit for group in groups] == ["replicate", "replicate"]
    assert [len(group.samples) for group in groups] == [3, 3]
    assert groups[0].samples.gap == pytest.approx((0.25, 0.23, 0.27))
    assert labels.variants(groups) == [
        "the paper's 100 points, new initial weights",
        "points drawn anew",
    ]


def test_a_second_copy_of_a_seeded_run_is_no_second_replicate(run):
    (group,) = groups_by_row([run(), run()])[ROW]
    assert len(group.samples) == 1
    assert group.repeats == 1


def test_two_runs_with_secret_noise_are_two_replicates(run):
    row = "table_8/fmnist_dnn/dpsgd/2.97"
    first, second = (run(row=row, algorithm="dpsgd") for _ in range(2))
    for record in (first, second):
        record["config"]["algorithm"]["noise_seed"] = None
    (group,) = groups_by_row([first, second])[row]
    assert len(group.samples) == 2


def test_measuring_the_curve_does_not_part_seeds(run):
    first, second = run(seed=0), run(seed=1)
    second["config"]["evaluation"]["curve"] = True
    assert len(groups_by_row([first, second])[ROW]) == 1


def test_a_record_may_serve_two_rows(run):
    record = run()
    record["rows"] = ["table_4/cifar10_cnn/trades", "table_6/cifar10_cnn/trades/8_255"]
    assert list(groups_by_row([record])) == record["rows"]


def test_runs_without_a_row_come_under_their_name(run):
    assert rows_of(run(row=None, label="mine", seed=3)) == [
        "other/fashion_mnist-fmnist_dnn-natural-mine-epochs_10"
    ]


def test_order_of_records_does_not_matter(study):
    assert groups_by_row(study) == groups_by_row(study[::-1])


def test_augmentation_is_told_in_words(run):
    row = "table_4/cifar10_cnn/natural"
    cifar = {"row": row, "architecture": "cifar10_cnn", "dataset": "cifar10"}
    plain, augmented = run(**cifar), run(**cifar, seed=1)
    augmented["config"]["augment"] = True
    groups = groups_by_row([plain, augmented])[row]
    assert sorted(labels.variants(groups)) == ["crops and flips", "no augmentation"]


def test_what_was_run_says_epochs_and_precision(run):
    trained = run(row="table_5/fmnist_dnn/trades", algorithm="trades")
    trained["config"] |= {"epochs": 1, "precision": "mixed_bfloat16"}
    stopped = run(seed=1)
    stopped["config"] |= {"epochs": 60, "stop_at_test_accuracy": 0.8}
    said = {
        row: labels.of_run(groups[0]) for row, groups in groups_by_row([trained, stopped]).items()
    }
    assert "TRADES in mixed_bfloat16" in said["table_5/fmnist_dnn/trades"]
    assert "; 1 epoch" in said["table_5/fmnist_dnn/trades"]
    assert "; at most 60 epochs" in said[ROW]
