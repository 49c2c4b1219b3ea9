"""Accuracy tables against values computed by hand."""

import math

import pytest
from factory import study_of

from ft_tf.errors import ArgumentError, RunError
from ft_tf.report import paper, table
from ft_tf.report.exhibits import accuracy


def lines_of(records, exhibit):
    return accuracy.accuracy_frame(study_of(*records), exhibit).to_dict("records")


def table_of(records, exhibit):
    return accuracy.Accuracy(exhibit, 0).table(study_of(*records))


def line_of(records, row):
    (line,) = [line for line in lines_of(records, row.split("/")[0]) if line["row"] == row]
    return line


def is_missing(value):
    return value is None or value != value


def test_three_seeds_by_hand(run):
    """Gaps 8, 9 and 10 points: mean 9, s = 1; t(0.975, 2) = 4.302653, sqrt(1 + 1/3) = 1.154701."""
    records = [
        run(seed=seed, train=train, test=0.90) for seed, train in enumerate((0.98, 0.99, 1.00))
    ]
    line = line_of(records, "table_5/fmnist_dnn/natural")
    assert line["train"] == pytest.approx(0.99)
    assert line["test"] == pytest.approx(0.90)
    assert line["generalization_error"] == pytest.approx(0.09)
    assert line["train_sd"] == pytest.approx(0.01)
    assert line["test_sd"] == pytest.approx(0, abs=1e-12)
    assert line["generalization_error_sd"] == pytest.approx(0.01)
    half = 4.302652729911275 * 0.01 * math.sqrt(4 / 3)
    assert line["generalization_error_prediction_low"] == pytest.approx(0.09 - half)
    assert line["generalization_error_prediction_high"] == pytest.approx(0.09 + half)
    assert line["paper_generalization_error_inside"] is True  # 8.60
    assert line["train_difference"] == pytest.approx(0.99 - 0.9883)
    assert line["test_difference"] == pytest.approx(0.90 - 0.9023)
    assert line["generalization_error_difference"] == pytest.approx(0.09 - 0.0860)
    assert (line["replicates"], line["status"]) == (3, "ran")


@pytest.mark.parametrize(("form", "points"), [("fixed_data", None), ("redrawn_data", 70)])
def test_points_drawn_anew_are_predicted_for_a_test_of_the_papers_size(circles, form, points):
    """Ours are tested on 10,000 points: one on 70 has p (1 - p) / 70 on top of our spread."""
    row = "table_3/circles_mlp/natural"
    tests = [0.7, 0.75, 0.8]
    results = {row: {"noise": "natural", "sigma": 0.0, "train": [1.0] * 3, "test": tests}}
    record = circles(results=results, form=form)
    record["data"]["test_examples"] = 10_000 if points else 70
    line = line_of([record], row)
    binomial = (0.7 * 0.3 + 0.75 * 0.25 + 0.8 * 0.2) / 3
    further = binomial * (1 / 70 - 1 / 10_000) if points else 0.0
    half = 4.302652729911275 * math.sqrt(0.05**2 * 4 / 3 + further)
    assert line["generalization_error_prediction_low"] == pytest.approx(0.25 - half)
    assert line["generalization_error_prediction_high"] == pytest.approx(0.25 + half)
    notes = table_of([record], "table_3").notes
    assert any("tests on 70 points" in note for note in notes) == bool(points)


def test_a_gap_outside_the_interval_is_said(run):
    records = [run(seed=s, train=0.80 + s / 1000, test=0.79) for s in range(3)]
    line = line_of(records, "table_5/fmnist_dnn/natural")
    assert line["paper_generalization_error_inside"] is False


def test_one_seed_has_no_interval(run):
    line = line_of([run()], "table_5/fmnist_dnn/natural")
    assert line["generalization_error"] == pytest.approx(0.07)
    for name in (
        "generalization_error_sd",
        "generalization_error_prediction_low",
        "generalization_error_prediction_high",
        "paper_generalization_error_inside",
    ):
        assert is_missing(line[name])


@pytest.mark.parametrize(
    ("gaps", "reason"),
    [
        ((0.2429, 0.2429), "all replicates equal: no spread to judge by"),
        ((0.0860,) * 200, "all replicates equal: no spread to judge by"),
        ((0.2429, 0.2430), "fewer than 3 replicates"),
    ],
)
def test_replicates_without_a_spread_predict_nothing(run, gaps, reason):
    """Nor do they say that the paper's gap lies outside, or, where it is the same, inside."""
    records = [run(seed=seed, train=0.7 + gap, test=0.7) for seed, gap in enumerate(gaps)]
    line = line_of(records, "table_5/fmnist_dnn/natural")
    for name in (
        "generalization_error_prediction_low",
        "generalization_error_prediction_high",
        "paper_generalization_error_inside",
    ):
        assert is_missing(line[name])
    assert line["unjudged"] == reason
    remarks = table_of(records, "table_5").rows[0].cells[-1]
    is_said = "no prediction: all replicates equal: no spread to judge by" in remarks
    assert is_said == ("equal" in reason)


def test_the_scale_smoke_is_not_held_against_the_paper(run):
    records = [run(seed=s, train=0.95 + s / 100, label="table_5-smoke") for s in range(4)]
    line = line_of(records, "table_5/fmnist_dnn/natural")
    assert line["smoke"] is True
    assert is_missing(line["paper_generalization_error_inside"])
    assert "not counted: of the scale smoke" in table_of(records, "table_5").rows[0].cells[-1]
    assert line_of([run(label="smoke_free")], "table_5/fmnist_dnn/natural")["smoke"] is False


def test_circles_pool_over_replicates(circles, circles_results):
    line = line_of([circles(results=circles_results)], "table_3/circles_mlp/natural")
    assert line["generalization_error"] == pytest.approx(0.25)
    assert line["generalization_error_sd"] == pytest.approx(0.02)
    assert (line["replicates"], line["replication_unit"]) == (3, "replicate")
    assert line["data"] == "scikit-learn make_circles, 30 training points (note on circles)"


def test_rows_without_a_record_are_not_run_and_say_how_to(run):
    lines = {line["row"]: line for line in lines_of([run()], "table_5")}
    assert list(lines) == [row.id for row in paper.rows("table_5")]
    missing = lines["table_5/fmnist_cnn/trades"]
    assert missing["status"] == "not run"
    assert missing["command"] == "python -m experiments.reproduce --tables=5"
    assert missing["paper_generalization_error"] == pytest.approx(0.0886)
    assert is_missing(missing["generalization_error"])
    cifar = lines_of([], "table_4")[0]
    assert "--tables=4 --data_dir=DIR --download" in cifar["command"]


def test_a_failed_run_is_shown_with_its_reason(failed_run):
    line = line_of([failed_run()], "table_5/fmnist_dnn/natural")
    assert line["status"] == "failed"
    assert line["failures"] == "seed 0: loss is NaN (epoch 3, step 71)"
    assert is_missing(line["generalization_error"])
    assert line["replicates"] == 0


def test_a_failed_seed_stands_beside_the_finished_ones(run, failed_run):
    line = line_of([run(seed=1), run(seed=2), failed_run(seed=3)], "table_5/fmnist_dnn/natural")
    assert (line["status"], line["replicates"]) == ("ran", 2)
    assert line["failures"].startswith("seed 3: loss is NaN")


def test_variants_have_lines_of_their_own(run):
    row = "table_5/fmnist_cnn/trades"
    records = [
        run(row=row, algorithm="trades", architecture=architecture, train=train)
        for architecture, train in (("fmnist_cnn_1", 0.99), ("fmnist_cnn_2", 0.95))
    ]
    lines = [line for line in lines_of(records, "table_5") if line["row"] == row]
    assert [line["train"] for line in lines] == [0.99, 0.95]
    assert [line["variant"] for line in lines] == [
        "architecture fmnist_cnn_1",
        "architecture fmnist_cnn_2",
    ]


def test_where_two_architectures_are_one_net_of_the_paper_every_line_names_its_own(run):
    ran = [("natural", "fmnist_cnn_1"), ("natural", "fmnist_cnn_2"), ("tikhonov", "fmnist_cnn_2")]
    records = [
        run(row=f"table_5/fmnist_cnn/{algorithm}", algorithm=algorithm, architecture=architecture)
        for algorithm, architecture in ran
    ]
    lines = lines_of([*records, run()], "table_5")
    told = {(line["row"], line["variant"]) for line in lines if line["status"] == "ran"}
    assert told == {
        ("table_5/fmnist_cnn/natural", "architecture fmnist_cnn_1"),
        ("table_5/fmnist_cnn/natural", "architecture fmnist_cnn_2"),
        ("table_5/fmnist_cnn/tikhonov", "architecture fmnist_cnn_2"),
        ("table_5/fmnist_dnn/natural", ""),
    }


def test_a_training_that_broke_down_is_told_in_the_table_and_in_the_readmes(run):
    record = run()
    record["history"] = {"epoch": [1.0, 2.0, 3.0], "train_accuracy": [0.8, 0.9, 0.1]}
    shown = table_of([record], "table_5")
    for version in (shown, shown.brief()):
        assert "broke down in epoch 3" in table.markdown(version)


def test_a_dp_row_carries_its_own_epsilon_and_never_the_papers(run):
    row = "table_8/fmnist_dnn/dpsgd/2.97"
    line = line_of([run(row=row, algorithm="dpsgd")], row)
    assert line["epsilon"] == 4.5  # the one that holds
    assert line["epsilon_paper"] == 5.25
    assert line["noise_multiplier"] == 1.1
    assert line["delta"] == 1e-5
    assert line["run"] == "DP-SGD, noise multiplier 1.1, clip 1; fmnist_dnn; 10 epochs"
    assert "2.97" not in line["run"] + line["variant"] + line["epsilon_accounting"]


def test_shuffled_batches_get_the_unamplified_epsilon(run):
    row = "table_8/fmnist_dnn/dpsgd/2.97"
    record = run(row=row, algorithm="dpsgd", options={"sampling": "shuffle"})
    record["privacy"] |= {"sampling": "shuffle", "epsilon_claimed": 54.0}
    line = line_of([record], row)
    assert line["epsilon"] == 54.0
    assert line["epsilon_accounting"] == "shuffled batches, unamplified"


def test_without_a_finite_epsilon_the_reason_is_given(run):
    row = "table_8/fmnist_dnn/dpsgd/2.97"
    record = run(row=row, algorithm="dpsgd", options={"noise_multiplier": 0.0})
    record["privacy"] |= {"epsilon_claimed": None, "reasons": {"epsilon_claimed": "no noise"}}
    line = line_of([record], row)
    assert is_missing(line["epsilon"])
    assert line["epsilon_accounting"] == "no noise"


def test_reductions_and_the_data_source_are_in_the_row(run):
    line = line_of([run(deviations=("epochs 10 of 60", "beta 1"))], "table_5/fmnist_dnn/natural")
    assert line["deviations"] == "epochs 10 of 60; beta 1"
    assert line["data"] == "embedded sample, 6,000 training images (note on fashion_mnist)"


def test_seeds_that_were_trained_elsewhere_are_named(run):
    records = [run(seed=seed) for seed in range(3)]
    for record in records[1:]:
        record["environment"]["trained_on"] = ["CPU", "NVIDIA A100"]
    line = line_of(records, "table_5/fmnist_dnn/natural")
    assert line["run"].endswith("; seeds 1, 2 trained on CPU, then NVIDIA A100")


def test_fitted_runs_are_marked(run):
    assert line_of([run(fitted=True)], "table_5/fmnist_dnn/natural")["fitted"] is True


def test_rows_that_the_paper_lacks_follow_its_own(circles, circles_results):
    lines = lines_of([circles(results=circles_results)], "table_3")
    assert [line["row"] for line in lines[:7]] == [row.id for row in paper.rows("table_3")]
    assert lines[7]["row"] == "table_3/circles_mlp/jacobian/0.1"
    assert lines[7]["note"] == "not in the paper"
    assert lines[7]["generalization_error"] == pytest.approx(0.20)


def test_figure_1_takes_the_runs_of_table_4(run):
    records = [
        run(
            row=f"table_4/cifar10_cnn/{name}",
            algorithm=name,
            architecture="cifar10_cnn",
            dataset="cifar10",
            train=train,
        )
        for name, train in (("natural", 0.95), ("trades", 0.93))
    ]
    lines = lines_of(records, "figure_1")
    assert [line["generalization_error"] for line in lines] == pytest.approx([0.07, 0.05])
    assert [line["paper_generalization_error"] for line in lines] == [0.09, 0.17]


def test_runs_beside_the_papers_rows_are_listed(run):
    (line,) = lines_of([run(row=None, label="mine")], "other")
    assert line["generalization_error"] == pytest.approx(0.07)


def test_unknown_exhibits_are_refused():
    with pytest.raises(ArgumentError, match="exhibit='table_2'"):
        accuracy.accuracy_frame(study_of(), "table_2")


def test_the_remarks_of_short_tables_have_their_words_explained(private_study, run):
    cifar = {"architecture": "cifar10_cnn", "dataset": "cifar10"}
    records = [
        run(row="table_4/cifar10_cnn/natural", **cifar),
        run(row="table_4/cifar10_cnn/trades", algorithm="trades", fitted=True, **cifar),
    ]
    shown = table_of(records, "table_4")
    assert [row.cells[-1].split(";")[0] for row in shown.brief().rows] == [
        "10 epochs",
        "10 epochs (its authors' script: 76)",
    ]
    assert any("Fitted: a setting was chosen" in note for note in shown.notes)
    assert not any("Epsilon" in note for note in shown.notes)
    private = table_of(private_study, "table_8")
    assert any("The paper's accountant gives 5.25 for 4.5." in note for note in private.notes)
    assert not any("Fitted:" in note for note in private.notes)


def test_an_algorithm_with_broken_options_is_refused_by_the_name_of_its_record(run):
    record = run(row="table_5/fmnist_dnn/trades", algorithm="trades")
    del record["config"]["algorithm"]["beta"]
    with pytest.raises(RunError, match=rf"{record['name']}.*config.*beta"):
        lines_of([record], "table_5")
