"""What is pooled, and what must never be."""

import pytest
from factory import study_of, typed

from ft_tf.report import display_names, paper
from ft_tf.report.groups import rows_of

ROW = "table_5/fmnist_dnn/natural"


def test_seeds_of_one_configuration_are_one_group(run):
    (group,) = study_of(*(run(seed=seed, train=0.9 + seed / 100) for seed in (2, 0, 1))).by_row[ROW]
    assert group.samples.train == (0.9, 0.91, 0.92)
    assert group.samples.unit == "training seed"


def test_noise_seeds_differ_within_a_group(run):
    row = "table_8/fmnist_dnn/dpsgd/2.97"
    (group,) = study_of(*(run(row=row, algorithm="dpsgd", seed=s) for s in range(2))).by_row[row]
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
    groups = study_of(run(), run(seed=1, **changes)).by_row[ROW]
    assert [len(group.samples) for group in groups] == [1, 1]
    assert any(words in text for text in display_names.variants(groups))


def test_options_of_the_algorithm_are_told_apart(run):
    row = "table_5/fmnist_dnn/trades"
    groups = study_of(
        run(row=row, algorithm="trades"),
        run(row=row, algorithm="trades", options={"beta": 6.0}, seed=1),
    ).by_row[row]
    assert sorted(display_names.variants(groups)) == ["beta 1", "beta 6"]


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
    (group,) = study_of(_with_training_accuracies(run(), *accuracies)).by_row[ROW]
    assert group.breakdowns == words


def test_without_a_curve_no_training_is_said_to_have_broken_down(run):
    (group,) = study_of({**run(), "history": {"epoch": [1.0, 2.0], "loss": [0.5, 99.0]}}).by_row[
        ROW
    ]
    assert group.breakdowns == ""


def test_of_several_trainings_those_that_broke_down_are_counted(run):
    histories = [(0.9, 0.1), (0.8, 0.9), (0.8, 0.9, 0.2)]
    records = [
        _with_training_accuracies(run(seed=seed), *history)
        for seed, history in enumerate(histories)
    ]
    (group,) = study_of(*records).by_row[ROW]
    assert group.breakdowns == "2 of 3 trainings broke down in epoch 2 and epoch 3"


def test_forms_of_the_circles_study_stay_apart(circles, circles_results):
    fixed = circles(results=circles_results)
    redrawn = circles(results=circles_results, form="redrawn_data", name="r")
    redrawn["data"] = {**redrawn["data"], "fingerprint": "e" * 64}
    groups = study_of(fixed, redrawn).by_row["table_3/circles_mlp/natural"]
    assert [group.samples.unit for group in groups] == ["replicate", "replicate"]
    assert [len(group.samples) for group in groups] == [3, 3]
    assert groups[0].samples.generalization_error == pytest.approx((0.25, 0.23, 0.27))
    assert display_names.variants(groups) == [
        "the paper's 100 points, new initial weights",
        "newly drawn points",
    ]


def test_a_second_copy_of_a_seeded_run_is_no_second_replicate(run):
    (group,) = study_of(run(), run()).by_row[ROW]
    assert len(group.samples) == 1


def test_two_runs_with_secret_noise_are_two_replicates(run):
    row = "table_8/fmnist_dnn/dpsgd/2.97"
    first, second = (run(row=row, algorithm="dpsgd") for _ in range(2))
    for record in (first, second):
        record["config"]["algorithm"]["noise_seed"] = None
    (group,) = study_of(first, second).by_row[row]
    assert len(group.samples) == 2


def test_measuring_the_curve_does_not_part_seeds(run):
    first, second = run(seed=0), run(seed=1)
    second["config"]["evaluation"]["curve"] = True
    assert len(study_of(first, second).by_row[ROW]) == 1


def test_a_record_may_serve_two_rows(run):
    record = run()
    record["rows"] = ["table_4/cifar10_cnn/trades", "table_6/cifar10_cnn/trades/8_255"]
    assert list(study_of(record).by_row) == record["rows"]
    (group,) = study_of(record).groups
    assert group.rows == tuple(record["rows"])


def test_runs_without_a_row_come_under_their_name(run):
    assert rows_of(typed(run(row=None, label="mine", seed=3)), paper.EXHIBITS) == [
        "other/fashion_mnist-fmnist_dnn-natural-mine-epochs_10"
    ]


def test_order_of_records_does_not_matter(study):
    def names(records):
        by_row = study_of(*records).by_row
        return {row: [group.names for group in groups] for row, groups in by_row.items()}

    assert names(study) == names(study[::-1])


def test_augmentation_is_told_in_words(run):
    row = "table_4/cifar10_cnn/natural"
    cifar = {"row": row, "architecture": "cifar10_cnn", "dataset": "cifar10"}
    plain, augmented = run(**cifar), run(**cifar, seed=1)
    augmented["config"]["augment"] = True
    groups = study_of(plain, augmented).by_row[row]
    assert sorted(display_names.variants(groups)) == ["crops and flips", "no augmentation"]


def test_what_was_run_says_epochs_and_precision(run):
    trained = run(row="table_5/fmnist_dnn/trades", algorithm="trades")
    trained["config"] |= {"epochs": 1, "precision": "mixed_bfloat16"}
    stopped = run(seed=1)
    stopped["config"] |= {"epochs": 60, "stop_at_test_accuracy": 0.8}
    said = {row: groups[0].run for row, groups in study_of(trained, stopped).by_row.items()}
    assert "TRADES in mixed_bfloat16" in said["table_5/fmnist_dnn/trades"]
    assert "; 1 epoch" in said["table_5/fmnist_dnn/trades"]
    assert "; at most 60 epochs" in said[ROW]
