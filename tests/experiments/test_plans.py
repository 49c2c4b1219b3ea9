"""The plans beyond the paper, and the binary that runs them."""

import collections
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import _app, plans
from experiments.plans import cifar10_jpeg
from ft_tf import records
from ft_tf.report import paper

ROOT = Path(__file__).parent.parent.parent
ROWS = {row.id for table in paper.TABLES for row in paper.rows(table)}


# The zoo asks no question.
@pytest.mark.parametrize("name", [name for name in plans.PLANS if name != "zoo"])
def test_a_plan_states_itself_and_its_runs_differ_by_name(name):
    plan = plans.plan(name)
    for part in ("Question.", "Cells.", "Seeds.", "Primary measure.", "Test."):
        assert f"\n{part} " in plan.__doc__
    cells = plan.cells()
    names = [cell.name(is_sample=False) for cell in cells]
    assert cells and len({*names}) == len(names)
    assert {cell.seed for cell in cells} == {0}
    assert {row for cell in cells for row in cell.rows} <= ROWS


@pytest.mark.parametrize(
    ("only", "found"),
    [
        ([], True), (["seed_1"], True), (["rate_0.0"], False), (["rate_0.05"], True),
        (["other", "cnn_1"], True), (["cnn"], True), (["seed_"], True), (["dnn"], False),
    ],
)  # fmt: skip
def test_only_takes_parts_of_names_and_whole_numbers(only, found):
    assert _app.is_chosen("cnn_1-rate_0.05-seed_1", only) is found
    assert not _app.is_chosen("cnn_1-seed_10", ["seed_1"])


def test_dp_adam_s_setting_is_that_of_the_least_sum_over_the_paper_s_rows():
    printed = {row.id: 100 * row.train for row in paper.rows("table_8")}
    sums = collections.Counter()
    for run in records.load_all(ROOT / "experiments" / "results"):
        if match := re.match(r"dp_adam-(.+)-rate", run.config.get("label") or ""):
            apart = abs(100 * run.accuracy.train - printed[f"table_8/fmnist_dnn/dpsgd/{match[1]}"])
            sums[run.config["learning_rate"], run.config["algorithm"]["l2_norm_clip"]] += apart
    chosen = {
        (run.learning_rate, run.algorithm.l2_norm_clip)
        for run in plans.plan("dp_adam_rows").cells()
    }
    assert chosen == {min(sums, key=sums.get)} and len(sums) == 4
    least, *others = sorted(f"{value:.2f}" for value in sums.values())
    line = next(
        line
        for line in (ROOT / "experiments/ARTIFACT.md").read_text().splitlines()
        if line.startswith("| dp_adam |")
    )
    assert all(value in line for value in (least, *others))


def test_jpeg_on_the_same_shifted_blocks_repeats_itself():
    images = 0.3 + 0.4 * np.random.default_rng(0).random((20, 8, 8, 3))
    images = images.repeat(4, axis=1).repeat(4, axis=2)
    once = cifar10_jpeg.compressed_again(images) / 255
    twice = cifar10_jpeg.compressed_again(once) / 255
    loss, second = np.abs(once - images).mean(), np.abs(twice - once).mean()
    assert loss > 0.01 and second < loss / 5, (loss, second)


TINY = """
import sys, types
from experiments import _app, plans, run_plan
from ft_tf.study.algorithms import Trades
from ft_tf.study.config import Evaluation, RunConfig

run = RunConfig(
    dataset="fashion_mnist", architecture="fmnist_dnn_256", epochs=3, train_limit=600, holdout=200,
    test_limit=100, algorithm=Trades(epsilon=0.1, step_size=0.1, num_steps=1), label="tiny",
    evaluation=Evaluation(fault_trials=1), rows=("table_5/fmnist_dnn/trades",),
)
sys.modules["experiments.plans.tiny"] = types.SimpleNamespace(cells=lambda: [run])
plans.PLANS = ("tiny",)
_app.run(run_plan.main, run_plan.define_flags, resumes=True)
"""


def test_a_row_that_held_images_out_gets_a_natural_partner(tmp_path):
    command = [sys.executable, "-c", TINY, "--plan=tiny", f"--output_dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = {record.rows[0]: record for record in records.load_all(tmp_path)}
    assert set(found) == {"table_5/fmnist_dnn/trades", "table_5/fmnist_dnn/natural_stopped/trades"}
    robust, natural = (found[row] for row in sorted(found, reverse=True))
    assert natural.config["stop_at_holdout_accuracy"] == robust.accuracy.holdout
    assert natural.config["label"] == "tiny-as_trades"
