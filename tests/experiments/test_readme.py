"""The README holds: its Python runs, and its commands name binaries and flags that exist."""

import re

import forked
import pytest

TEXT = (forked.ROOT / "README.md").read_text()
BUILD = (forked.ROOT / "BUILD.md").read_text()
COMMANDS = re.findall(r"python -m (experiments\.[a-z_]+)([^\n`&]*)", TEXT + BUILD)
BINARIES = sorted(
    f"experiments.{path.stem}"
    for path in (forked.ROOT / "experiments").glob("*.py")
    if "_app.run(" in path.read_text()
)


@pytest.fixture(scope="module")
def help_texts(tmp_path_factory):
    commands = {name: [name, "--help"] for name in BINARIES}
    return forked.run_all(commands, tmp_path_factory.mktemp("help"))


def test_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        exec(block, names)
    assert 0 <= names["result"].robust_accuracy <= names["result"].clean_accuracy <= 1
    assert "differentially private" in names["privacy"].statement(names["cost"])


@pytest.mark.parametrize("binary", BINARIES)
def test_help_says_what_it_does_and_how(help_texts, binary):
    _, stdout, stderr = help_texts[binary]
    assert "python -m " + binary in stdout, stderr
    assert "--" in stdout


@pytest.mark.parametrize(("binary", "arguments"), COMMANDS)
def test_commands_name_flags_that_exist(help_texts, binary, arguments):
    assert binary in BINARIES
    for flag in re.findall(r"--(\w+)", arguments):
        assert re.search(rf"--(\[no\])?{flag}\b", help_texts[binary][1]), flag


def test_the_first_command_of_ci_is_the_readmes():
    lines = (forked.ROOT / ".ci" / "run").read_text().splitlines()
    command = next(line for line in lines if "pip install" in line)
    assert command in TEXT
