"""README: its Python and its cheap commands run and print what it shows; the others are parsed."""

import ast
import re

import forked
import keras as keras_3
import numpy as np
import pytest
from pages_that_run import assert_like, check_flags, commands_of, run_shell, shown_after

from ft_tf import data, metrics

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
CHEAP = {"inject_faults", "attack"}


def is_cheap(block):
    """Whether a block is run as it stands: no placeholder, and nothing that trains for minutes."""
    commands = commands_of(block)
    names = {command[0].split(".")[1] for command in commands}
    return bool(commands) and names <= CHEAP and not re.search(r"=[A-Z]{3,}", block)


@pytest.fixture(scope="module")
def users_directory(tmp_path_factory):
    """A directory with the model file that the README tests: of Keras 3, trained on the sample."""
    directory = tmp_path_factory.mktemp("readme")
    keras_3.backend.clear_session()  # layer names count from the first model of the process
    keras_3.utils.set_random_seed(0)
    layers = keras_3.layers
    model = keras_3.Sequential(
        [
            keras_3.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    sample = data.load("fashion_mnist", source="embedded-sample")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(sample.x_train, sample.y_train, batch_size=64, epochs=8, verbose=0)
    model.save(directory / "my_model.keras")
    return directory


@pytest.fixture(scope="module")
def help_texts(tmp_path_factory):
    commands = {name: [name, "--help"] for name in BINARIES}
    return forked.run_all(commands, tmp_path_factory.mktemp("help"))


def test_python_blocks_run(users_directory, monkeypatch, capsys):
    monkeypatch.chdir(users_directory)
    load = data.load  # the numbers shown are those of the sample, whatever this machine has
    monkeypatch.setattr(data, "load", lambda name: load(name, source="embedded-sample"))
    names = {}
    for block, shown in shown_after(TEXT, "python"):
        exec(block, names)
        assert shown, f"no output is shown of\n{block}"
        assert_like(capsys.readouterr().out, shown)
    fashion, account, start = names["fashion"], names["account"], names["start"]
    # What is measured has learned: a model at chance would make every comparison empty.
    for tested in (names["robust"].model, names["private"].averaged_model()):
        assert metrics.accuracy(tested, fashion.x_test, fashion.y_test) > 0.5
    assert names["found"].robust_accuracy > 0.3  # of TRADES, the last attacked
    assert 0.99 < account.epsilon <= 1
    assert "differentially private" in account.statement
    # DP-SGD and TRADES began from fresh weights, nowhere near the user's own.
    for other in (start, names["private"].model):
        weights = [model.get_weights()[0].ravel() for model in (names["model"], other)]
        assert abs(np.corrcoef(weights)[0, 1]) < 0.2


def test_the_comparison_of_outputs_sees_differences():
    assert_like("lost  12.3%\nepsilon 3.0", "lost 12.0%\n...\nepsilon 2.99")
    for printed in ("lost 45%", "gone 12.0%"):
        with pytest.raises(AssertionError):
            assert_like(printed, "lost 12.0%")


def test_the_first_example_is_five_lines():
    """Statements, that is: a call may be broken over lines."""
    first, _ = shown_after(TEXT, "python")[0]
    assert "load_model(" in first
    assert len(ast.parse(first).body) == 5


def test_the_page_is_at_most_200_lines():
    assert len(TEXT.splitlines()) <= 200


@pytest.mark.parametrize(
    ("block", "shown"),
    [pair for pair in shown_after(TEXT, "bash") if is_cheap(pair[0])],
    ids=lambda text: text.splitlines()[0][:60],
)
def test_cheap_shell_blocks_run(users_directory, block, shown):
    assert_like(run_shell(block, users_directory), shown)


def test_the_other_shell_blocks_parse(tmp_path):
    commands = {
        f"{number}-{place}": command
        for number, block in enumerate(BLOCKS)
        if not is_cheap(block)
        for place, command in enumerate(commands_of(block))
    }
    assert commands
    check_flags(commands, tmp_path)


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
