"""The binary is run as a process of its own: absl's flags are global to a process."""

import json
import math
import os
import re
import statistics
import subprocess
import sys

import pytest

CONTRACT = [
    "epsilon_paper", "order_paper", "epsilon_rdp", "epsilon_pld", "epsilon_shuffled", "delta",
    "steps", "sampling_probability", "theorem_1_as_printed", "gap_bound", "noise_multiplier",
    "warnings",
]  # fmt: skip


def run(*flags):
    return subprocess.run(
        [sys.executable, "-m", "experiments.compute_epsilon", *flags],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "400"},  # so that no line is broken
    )


def answer(*flags):
    result = run(*flags, "--format=json")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_the_papers_four_rows_by_default():
    rows = answer()
    assert [row["noise_multiplier"] for row in rows] == [5, 1.1, 0.5, 0.05]
    assert [row["epsilon_paper"] for row in rows] == pytest.approx(
        [0.492, 2.970, 24.662, 2.30e6], rel=1e-3
    )
    assert [row["epsilon_pld"] for row in rows[:3]] == pytest.approx(
        [0.346, 2.350, 20.89], rel=2e-3
    )
    assert [row["gap_bound"] for row in rows[:3]] == pytest.approx([0.080, 0.368, 0.947], abs=1e-3)
    assert rows[3]["theorem_1_as_printed"] is None
    assert rows[3]["reasons"]["theorem_1_as_printed"]
    assert all(row["steps"] == 14_400 for row in rows)
    for row in rows:
        assert list(row)[: len(CONTRACT)] == CONTRACT


@pytest.mark.slow
def test_the_plot_of_the_trade_off_curves(tmp_path):
    setting = ["--n=1000", "--batch_size=100", "--steps=50", "--noise_multiplier=1,2"]
    done = run(*setting, f"--plot={tmp_path / 'curve.png'}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    refused = run(*setting, "--plot=curve.pdf")
    assert refused.returncode == 2 and "plot='curve.pdf' must end in .png" in refused.stderr
    none = run("--noise_multiplier=0", f"--plot={tmp_path / 'none.png'}")
    assert none.returncode == 2 and "no run has a trade-off curve" in none.stderr


def test_noise_for_an_advantage():
    row = answer("--n=1000", "--batch_size=100", "--steps=50", "--target_advantage=0.2")
    assert 0.999 * 0.2 <= row["membership_advantage"] <= 0.2
    assert 1e-3 < row["true_positive_rate_at_1_in_1000"] < row["true_positive_rate_at_1_in_100"]


def test_one_run_given_by_steps():
    row = answer("--n=1000", "--batch_size=1000", "--steps=1", "--noise_multiplier=1")
    assert row["sampling_probability"] == 1
    assert row["epsilon_pld"] == pytest.approx(4.3772, abs=5e-5)
    assert row["steps"] == 1


def test_epochs_have_the_steps_that_training_takes():
    row = answer("--n=1000", "--batch_size=300", "--epochs=2", "--noise_multiplier=1")
    assert row["steps"] == 6  # round(1000 / 300) Poisson batches, twice: DPSGDModel.fit's


def test_steps_of_a_share_of_an_epoch_are_not_rounded_up_by_floats():
    run = ("--n=1000", "--batch_size=10", "--noise_multiplier=1")  # 0.07 * 100 > 7 in floats
    assert answer(*run, "--epochs=0.07")["steps"] == 7
    assert answer(*run, "--epochs=0.0701")["steps"] == 8


def test_shuffled_passes_follow_from_the_steps_that_are_planned():
    """Batches of 60 of 100 examples: two Poisson steps an epoch, one full batch a pass."""
    run = ("--n=100", "--batch_size=60", "--noise_multiplier=5", "--delta=1e-3")
    by_epochs, by_steps = answer(*run, "--epochs=10"), answer(*run, "--steps=20")
    assert by_epochs["steps"] == 20
    assert by_epochs["epsilon_shuffled"] == by_steps["epsilon_shuffled"]


def test_no_noise_is_null_with_its_reason():
    row = answer("--noise_multiplier=0")
    assert row["epsilon_pld"] is None
    assert "not private" in row["reasons"]["epsilon_pld"]
    assert row["statement"].startswith("Not private")


def test_target_epsilon_is_met():
    row = answer("--target_epsilon=2.97", "--accountant=paper")
    assert row["epsilon_paper"] <= 2.97
    assert row["noise_multiplier"] == pytest.approx(1.1, rel=1e-3)


def test_a_target_for_shuffled_batches_is_what_the_statement_leads_with():
    # Two passes of one full batch each, where Poisson sampling would take four steps.
    flags = ["--n=100", "--batch_size=60", "--epochs=2", "--delta=1e-3"]
    row = answer("--target_epsilon=3", "--accountant=shuffled", *flags)
    assert row["steps"] == 2
    # One Gaussian mechanism with mu = sqrt(passes) / sigma (Balle and Wang 2018, theorem 8).
    mu = math.sqrt(2) / row["noise_multiplier"]
    normal = statistics.NormalDist()
    delta = normal.cdf(mu / 2 - 3 / mu) - math.exp(3) * normal.cdf(-mu / 2 - 3 / mu)
    assert delta == pytest.approx(1e-3, rel=0.02)
    assert 2.99 < row["epsilon_shuffled"] <= 3
    assert row["statement"].startswith(f"This run is (epsilon={row['epsilon_shuffled']:.4g},")
    assert "every batch was a Poisson sample" not in row["statement"]


@pytest.mark.parametrize("noise", ["0", "0.001", "0.05"])
def test_text_speaks_the_words_of_its_lines_and_no_gap_exceeds_100_points(noise):
    text = run(f"--noise_multiplier={noise}").stdout
    assert re.search(r"total variation, replace-one +100\.0  \(says nothing", text)
    assert re.search(r"total variation, shuffled +100\.0  \(says nothing", text)
    notes = [line for line in text.splitlines() if line.startswith("note:")]
    assert bool(notes) == (noise != "0")  # at 0 the warning has said it
    assert not re.search("theorem_1_|gap_bound|epsilon_replace_one|as_printed", text)
    named = {
        name
        for line in notes
        for name in line.removeprefix("note: no figure for ").split(": ")[0].split("; ")
    }
    shown = {line[2:32].strip() for line in text.splitlines() if line.startswith("  ")}
    assert named - {"epsilon by PLD"} <= shown


def test_the_notes_of_the_table_name_its_columns():
    text = run("--noise_multiplier=5,0.05,0.001,0").stdout
    assert "0.05: no figure for Theorem 1: exp(" in text
    assert "0.001: no figure for PLD; gap bound:" in " ".join(text.split())
    assert not re.search("theorem_1_|gap_bound|epsilon_replace_one|replace-one:", text)
    rows = [line.split() for line in text.splitlines() if re.match(r" +(0|0\.001|0\.05) ", line)]
    assert [row[-1] for row in rows] == ["100.0"] * 3


def test_text_says_it_in_words_and_loads_no_tensorflow():
    code = (
        "import sys; sys.argv += ['--noise_multiplier=0.5', '--noise_multiplier=5,1.1'];"
        "from experiments import _app, compute_epsilon;"
        "import atexit; atexit.register(lambda: print('tensorflow' in sys.modules));"
        "_app.run(compute_epsilon.main, compute_epsilon.define_flags)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "120"},  # the table's head wraps where there is less room
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "False"
    assert [line.split()[0] for line in lines[4:7]] == ["0.5", "5", "1.1"]
    assert "shuffled fixed batches" in result.stdout


BAD = {
    "--noise_multiplier=-1": "noise_multiplier=-1",
    "--noise_multiplier=much": "noise_multiplier='much'",
    "--noise_multiplier=inf": "noise_multiplier=inf",
    "--n=100": "batch_size=250 must not exceed n=100",
    "--n=0": "n=0",
    "--batch_size=0": "batch_size=0",
    "--delta=0": "delta=0.0",
    "--delta=1": "delta=1.0",
    "--delta=1e-320": "at least 2.23e-308",
    "--steps=0": "steps=0",
    "--epochs=0": "epochs=0.0",
    "--epochs=1 --steps=5": "epochs=1 and steps=5 exclude each other",
    "--target_epsilon=1 --noise_multiplier=1": "exclude each other",
    "--accountant=rdp": "accountant=rdp goes with target_epsilon",
    "--target_advantage=0.1 --target_epsilon=1": "exclude each other",
    "--target_advantage=1.5": "max_advantage=1.5",
    "--target_advantage=0.1 --accountant=rdp": "accountant='rdp'",
    "--target_epsilon=-2": "target_epsilon=-2.0",
}


def test_bad_input_is_one_line_that_names_the_flag():
    """One process for all: each case parses its own flags and must fail before any figure."""
    code = (
        "import json, sys\n"
        "from absl import flags\n"
        "from experiments import compute_epsilon\n"
        "from ft_tf.errors import FtTfError\n"
        "messages = {}\n"
        "compute_epsilon.define_flags()\n"
        "for case in json.loads(sys.argv[1]):\n"
        "    flags.FLAGS.unparse_flags()\n"
        "    for name in list(flags.FLAGS): flags.FLAGS[name].unparse()\n"
        "    flags.FLAGS(['compute_epsilon', *case.split()])\n"
        "    try: compute_epsilon.main([])\n"
        "    except FtTfError as error: messages[case] = str(error)\n"
        "print(json.dumps(messages))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, json.dumps(list(BAD))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    messages = json.loads(result.stdout)
    for case, expected in BAD.items():
        assert expected in messages.get(case, "no error"), case
        assert "\n" not in messages[case]


def test_exit_code_of_bad_input():
    result = run("--noise_multiplier=-1")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.strip() == "error: noise_multiplier=-1 must be a finite number >= 0"
