import dataclasses
import math

import example_records
import pytest

from experiments import presets, scales
from ft_tf.report import paper
from ft_tf.study import algorithms
from ft_tf.study import config as c


@pytest.mark.parametrize("name", scales.SCALES)
def test_every_row_of_the_tables_has_exactly_one_preset(name):
    scale = scales.scale(name)
    rows = [row for run in presets.runs_of(presets.TABLES, scale, seeds=1) for row in run.rows]
    rows += [row for row, _, _ in presets.table_3(scale)[0].rows]
    if scale is scales.PAPER:
        for run in presets.ablations_of(presets.TABLES, scale):
            rows = [row for row in rows if row not in run.rows or paper.is_row(row)]
            for row in run.rows:
                if paper.is_row(row):  # the other assignment of the CNNs serves the same row
                    rows.remove(row)
    wanted = [row.id for table in presets.TABLES for row in paper.rows(f"table_{table}")]
    assert sorted(row for row in rows if paper.is_row(row)) == sorted(wanted)


def test_both_assignments_of_the_cnns_are_run_for_every_cnn_row():
    run = {(config.architecture, row) for config in presets.runs_of((5, 7), scales.PAPER, seeds=1)
           for row in config.rows}  # fmt: skip
    for table in (5, 7):
        for row in paper.rows(f"table_{table}"):
            if row.architecture == "fmnist_cnn":
                assert {("fmnist_cnn_1", row.id), ("fmnist_cnn_2", row.id)} <= run


@pytest.mark.parametrize("name", scales.SCALES)
def test_the_assignment_of_the_cnns_is_the_text_s_or_the_reverse(name):
    for assignment, (trades, private) in {
        "text": ("fmnist_cnn_2", "fmnist_cnn_1"),
        "sources": ("fmnist_cnn_1", "fmnist_cnn_2"),
    }.items():
        runs = presets.runs_of((5, 7), scales.scale(name), seeds=1, assignment=assignment)
        rows = runs[: len(presets.table_5(scales.QUICK)) + len(presets.table_7(scales.QUICK))]
        cnns = {
            (run.rows[0].split("/")[0], run.architecture)
            for run in rows
            if run.rows[0].split("/")[1] == "fmnist_cnn"
        }
        assert cnns == {("table_5", trades), ("table_7", private)}


def test_at_the_scale_paper_both_assignments_are_run_either_way():
    both = [
        {(run.architecture, row) for run in presets.runs_of((5, 7), scales.PAPER, seeds=1,
         assignment=assignment) for row in run.rows if paper.is_row(row)}
        for assignment in presets.ASSIGNMENTS
    ]  # fmt: skip
    assert both[0] == both[1]


def test_noise_only_arms_have_the_noise_of_the_rows_beside_them():
    arms = {run.rows[0]: run.algorithm for run in presets.ablations_of((8,), scales.PAPER)}
    for epsilon, noise_multiplier in presets.PAPER_NOISE_MULTIPLIERS.items():
        arm = arms[f"table_8/fmnist_dnn/dpsgd_noise_only/{epsilon}"]
        assert arm.noise_multiplier * arm.l2_norm_clip == pytest.approx(noise_multiplier)
        assert arm.l2_norm_clip >= 1e6
    assert arms["table_8/fmnist_dnn/dpsgd_clip_only"].noise_multiplier == 0


def finished_record(config, *, holdout=None):
    accuracy = {"train": 0.9, "test": 0.8, "generalization_error": 0.1, "holdout": holdout}
    fields = {"rows": list(config.rows), "config": c.to_dict(config), "accuracy": accuracy}
    return example_records.run(**fields)


def test_natural_runs_stop_at_the_held_out_accuracy_of_the_run_of_their_seed():
    runs = presets.runs_of((5, 8), scales.PAPER, seeds=3, holdout=5000)
    (private,) = [
        run for run in runs if run.rows == ("table_8/fmnist_dnn/dpsgd/2.97",) and run.seed == 2
    ]
    robust = next(run for run in runs if run.rows == ("table_5/fmnist_dnn/trades",))
    fitted = dataclasses.replace(private, fitted=True)
    natural = next(run for run in runs if run.rows == ("table_8/fmnist_dnn/natural",))
    (of_clipping,) = [run for run in runs if "dpsgd_clip_only" in run.rows[0] and run.seed == 0]
    first, second = presets.stopped_runs(
        [
            finished_record(private, holdout=0.8436),
            example_records.failed(rows=list(private.rows), config=c.to_dict(private)),
            finished_record(fitted, holdout=0.8),
            finished_record(natural, holdout=0.9),
            finished_record(of_clipping, holdout=0.9),
            finished_record(dataclasses.replace(private, holdout=0)),
            finished_record(robust, holdout=0.87),
        ]
    )
    assert first.rows == ("table_8/fmnist_dnn/natural_stopped/2.97",)
    assert (first.stop_at_holdout_accuracy, first.seed, first.holdout) == (0.8436, 2, 5000)
    assert (first.algorithm, first.label) == (algorithms.Natural(), "table_8-paper-as_2.97")
    assert second.rows == ("table_5/fmnist_dnn/natural_stopped/trades",)
    assert second.stop_at_holdout_accuracy == 0.87
    assert second.learning_rate == robust.learning_rate


def test_a_holdout_is_that_of_every_run_and_of_none_by_default():
    tables = presets.TABLES
    assert {r.holdout for r in presets.runs_of(tables, scales.PAPER, seeds=1, holdout=7)} == {7}
    assert {r.holdout for r in presets.runs_of(tables, scales.PAPER, seeds=1)} == {0}


def test_fitted_rows_differ_from_the_paper_scale_s_in_clip_norm_or_rate_alone():
    rows = {run.rows: run for run in presets.table_8(scales.PAPER)}
    fitted = [run for run in presets.ablations_of((8,), scales.PAPER) if run.fitted]
    assert {run.rows[0].rpartition("/")[2] for run in fitted} == {"0.49", "24.66", "2e6"}
    for run in fitted:
        ours, row = c.to_dict(run), c.to_dict(rows[run.rows])
        ours["algorithm"]["l2_norm_clip"] = 1.0
        changed = {key for key in ours if ours[key] != row[key]}
        assert changed - {"learning_rate"} == {"label", "fitted"}
        assert run.algorithm.l2_norm_clip != 1.0 or "learning_rate" in changed


def test_names_of_all_runs_differ():
    for name in scales.SCALES:
        runs = presets.runs_of(presets.TABLES, scales.scale(name), seeds=3)
        names = [run.name(is_sample=False) for run in runs]
        assert len(set(names)) == len(names)


def test_the_paper_scale_reduces_no_private_row():
    for run in presets.table_7(scales.PAPER) + presets.table_8(scales.PAPER):
        assert run.epochs == 60
        assert run.batch_size == 250
        assert run.train_limit == run.test_limit == 0
        assert run.deviations == ()


def test_reductions_are_named():
    for run in presets.runs_of((5, 7, 8), scales.QUICK, seeds=1):
        assert any(text.startswith(f"epochs {run.epochs} of ") for text in run.deviations)


def test_a_seed_fixes_noise_and_faults_too_and_changes_nothing_else():
    run = presets.table_8(scales.PAPER)[-1]
    other = presets.with_seed(run, 4)
    assert (other.seed, other.algorithm.noise_seed) == (4, 4)
    first, second = c.to_dict(run), c.to_dict(other)
    assert first["algorithm"].pop("noise_seed") == 0
    assert second["algorithm"].pop("noise_seed") == 4
    assert (first.pop("seed"), second.pop("seed")) == (0, 4)
    seeds = [fields["evaluation"].pop("fault_seed") for fields in (first, second)]
    assert seeds == [0, 4]
    assert first == second


def test_one_seed_of_every_row_comes_first():
    runs = presets.runs_of((8,), scales.QUICK, seeds=2)
    assert [run.seed for run in runs] == [0] * 6 + [1] * 6


def test_attack_steps_cross_the_ball_as_in_the_authors_setting():
    for scale in (scales.QUICK, scales.PAPER):
        for run in presets.tables_4_and_6(scale):
            if run.algorithm.name == "trades":
                reach = run.algorithm.step_size * run.algorithm.num_steps / run.algorithm.epsilon
                assert reach == pytest.approx(0.07 / 0.031)


def test_attack_steps_on_cifar10_keep_about_the_length_of_the_authors_setting():
    runs = presets.tables_4_and_6(scales.PAPER)
    trades = [run.algorithm for run in runs if run.algorithm.name == "trades"]
    assert [(round(255 * each.epsilon), each.num_steps) for each in trades] == [
        (2, 3),
        (4, 5),
        (8, 10),
    ]
    assert all(0.0055 < each.step_size < 0.0075 for each in trades)


def test_what_the_paper_leaves_open_on_cifar10_is_run_both_ways():
    runs = presets.runs_of((4, 6), scales.PAPER, seeds=1)
    natural = [run.augment for run in runs if run.rows == ("table_4/cifar10_cnn/natural",)]
    assert sorted(natural) == [False, True]
    largest = [
        (run.algorithm.beta, run.augment)
        for run in runs
        if "table_6/cifar10_cnn/trades/8_255" in run.rows
    ]
    assert sorted(largest) == [(1.0, False), (6.0, False), (6.0, True)]


def test_a_larger_rate_is_not_called_a_part_of_the_smaller_one():
    """The quick scale doubles [T]'s rate of 0.15: "learning rate 0.3 of 0.15" read as a cut."""
    quick = presets.runs_of((8,), scales.QUICK, seeds=1)
    (natural,) = [run for run in quick if run.rows == ("table_8/fmnist_dnn/natural",)]
    assert natural.deviations == ("epochs 12 of 60", "learning rate 0.3, not 0.15")
    private = presets.table_7(scales.QUICK)[-1]
    assert private.deviations == ("epochs 10 of 60", "learning rate 0.4, not 0.15")


def test_the_quick_scale_takes_smaller_batches_of_cifar10_and_says_so():
    """With the paper scale's its hundred steps left natural training at chance."""
    natural, tikhonov, *_ = presets.tables_4_and_6(scales.QUICK)
    for run in (natural, tikhonov):
        assert run.epochs * math.ceil(run.train_limit / run.batch_size) == 1500
        assert run.deviations == (
            "epochs 12 of 30",
            "batches of 16, not 128",
            "learning rate 0.005, not 0.01",
        )
    paper, *_ = presets.tables_4_and_6(scales.PAPER)
    assert (paper.batch_size, paper.learning_rate, paper.deviations) == (128, 0.01, ())


def test_runs_of_the_scale_smoke_say_so_in_their_labels():
    """By which the report leaves them out of every verdict."""
    runs = presets.runs_of(presets.TABLES, scales.SMOKE, seeds=1)
    runs += presets.table_3(scales.SMOKE)
    runs += presets.ablations_of(presets.TABLES, scales.SMOKE)
    assert all("smoke" in run.label.split("-") for run in runs)
    names = [table.name for table in presets.table_3(scales.PAPER)]
    assert names[0] == "circles-fixed_data-replicates_200-epochs_4000-seed_0"  # as committed


def test_only_trades_on_cifar10_trains_in_mixed_precision():
    runs = presets.runs_of(presets.TABLES, scales.PAPER, seeds=1)
    mixed = [run for run in runs if run.precision == "mixed_bfloat16"]
    assert mixed == [
        run for run in runs if run.dataset == "cifar10" and run.algorithm.name == "trades"
    ]
    assert all("-mixed_bfloat16-" in run.name(is_sample=False) for run in mixed)
    float32 = dataclasses.replace(scales.PAPER, trades_precision="float32")
    assert len(presets.runs_of(presets.TABLES, float32, seeds=1)) == len(runs)
    assert {run.precision for run in presets.runs_of(presets.TABLES, float32, seeds=1)} == {
        "float32"
    }
