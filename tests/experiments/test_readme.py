"""The README holds: its Python runs, its cheap commands run, and the others are parsed."""

import json
import os
import re
import shlex
import subprocess
import sys

import forked
import keras as keras_3
import numpy as np
import pytest

TEXT = (forked.ROOT / "README.md").read_text()
BUILD = (forked.ROOT / "BUILD.md").read_text()
PAGES = "".join(path.read_text() for path in (forked.ROOT / "experiments").glob("*.md"))
COMMANDS = re.findall(r"python -m (experiments\.[a-z_]+)([^\n`&]*)", TEXT + BUILD + PAGES)
BINARIES = sorted(
    f"experiments.{path.stem}"
    for path in (forked.ROOT / "experiments").glob("*.py")
    if "_app.run(" in path.read_text()
)


BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
CHEAP = {"compute_epsilon", "train", "inject_faults", "attack"}


def commands_of(block):
    """The lines that call a binary, as lists of words, module first."""
    lines = re.findall(r"python -m (experiments\.[^\n&]*)", block)
    return [shlex.split(line) for line in lines]


def is_cheap(block):
    """Whether a block is run as it stands: no placeholder, and nothing that trains for minutes."""
    commands = commands_of(block)
    names = {command[0].split(".")[1] for command in commands}
    return bool(commands) and names <= CHEAP and not re.search(r"=[A-Z]{3,}", block)


@pytest.fixture(scope="module")
def users_directory(tmp_path_factory):
    """A directory with the README's files: a Keras 3 model with a softmax, and images."""
    directory = tmp_path_factory.mktemp("readme")
    layers = keras_3.layers
    model = keras_3.Sequential(
        [
            keras_3.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.save(directory / "my_model.keras")
    rng = np.random.default_rng(0)
    x, y = rng.random((300, 8, 8), dtype=np.float32), np.arange(300) % 3
    np.savez(directory / "mine.npz", x_train=x, y_train=y, x_test=x[:60], y_test=y[:60])
    return directory


@pytest.fixture(scope="module")
def help_texts(tmp_path_factory):
    commands = {name: [name, "--help"] for name in BINARIES}
    return forked.run_all(commands, tmp_path_factory.mktemp("help"))


def test_python_blocks_run(users_directory, monkeypatch):
    monkeypatch.chdir(users_directory)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 4
    names = {}
    for block in blocks:
        exec(block, names)
    assert 0 <= names["result"].robust_accuracy <= names["result"].clean_accuracy <= 1
    account, fashion = names["account"], names["fashion"]
    assert account.cost.steps == 3 * round(len(fashion.x_train) / 250)
    # What is compared below has learned: a model at chance would make every comparison empty.
    assert names["private"].evaluate(fashion.x_test, fashion.y_test, verbose=0)[1] > 0.3
    assert 0 < account.epsilon < 10
    assert "differentially private" in account.statement
    # DP-SGD began from fresh weights: what it gave is nowhere near the user's own.
    weights = [model.get_weights()[0].ravel() for model in (names["model"], names["private"].model)]
    assert abs(np.corrcoef(weights)[0, 1]) < 0.1
    table = names["table"]
    np.testing.assert_allclose(
        table["accuracy_first"] - table["accuracy_second"], table["difference"]
    )
    assert table["same_sites"].all()
    assert names["both"].robust_interval.low <= names["both"].robust_difference


def test_the_fault_test_is_five_lines():
    """Statements, that is: a call may be broken over lines."""
    import ast

    block = next(part for part in TEXT.split("```python\n") if "load_model(" in part)
    assert len(ast.parse(block.split("```")[0]).body) == 5


@pytest.mark.parametrize("block", filter(is_cheap, BLOCKS))
def test_cheap_shell_blocks_run(users_directory, block):
    binaries = os.path.dirname(sys.executable)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=users_directory,
        env={
            **os.environ,
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PYTHONPATH": str(forked.ROOT),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_other_shell_blocks_parse(tmp_path):
    commands = {
        f"{number}-{place}": command
        for number, block in enumerate(BLOCKS)
        if not is_cheap(block)
        for place, command in enumerate(commands_of(block))
    }
    assert len(commands) >= 3
    for name, (code, stdout, stderr) in forked.run_all(commands, tmp_path, parse_only=True).items():
        assert code == 0, f"{commands[name]}: {stderr}"
        given = [word.split("=")[0].lstrip("-") for word in commands[name][1:]]
        assert set(given) <= set(json.loads(stdout))


def test_some_of_both_kinds_are_there():
    cheap = [block for block in BLOCKS if is_cheap(block)]
    used = {command[0] for block in cheap for command in commands_of(block)}
    assert used == {f"experiments.{name}" for name in CHEAP}
    assert any("pip install" in block for block in BLOCKS)


@pytest.mark.parametrize("binary", BINARIES)
def test_help_says_what_it_does_and_how(help_texts, binary):
    _, stdout, stderr = help_texts[binary]
    assert "python -m " + binary in stdout, stderr
    assert "--" in stdout


@pytest.mark.parametrize(("binary", "arguments"), COMMANDS)
def test_commands_name_flags_that_exist(help_texts, binary, arguments):
    assert binary in BINARIES
    for flag in set(re.findall(r"--(\w+)", arguments)) - {"flagfile"}:  # absl's own
        assert re.search(rf"--(\[no\])?{flag}\b", help_texts[binary][1]), flag


def test_the_first_command_of_ci_is_the_readmes():
    lines = (forked.ROOT / ".ci" / "run").read_text().splitlines()
    command = next(line for line in lines if "pip install" in line)
    assert command in TEXT
