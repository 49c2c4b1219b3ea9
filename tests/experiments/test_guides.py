"""Guides: every block runs, in order, and prints what the page shows below it."""

import contextlib
import io
import re
import shutil
import sys

import forked
import keras
import pytest
from pages_that_run import (
    assert_like,
    blocks_of,
    check_flags,
    commands_of,
    run_shell,
)

GUIDES = forked.ROOT / "experiments" / "guides"
PAGES = sorted(path.name for path in GUIDES.glob("*.md"))
INDEX = "README.md"
BUDGET = r'--budget="[^"]*"'


def outputs(text, directory):
    """Runs the blocks of a page in order: yields what each prints, and what is shown.

    A Python block that begins with "# NAME.py" is a file; a bash block without output is not run.
    """
    names = {}
    for language, code, shown in blocks_of(text):
        file = re.match(r"# (\w+\.py)\n", code)
        if file:
            (directory / file[1]).write_text(code)
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(code, names)
            yield code, printed.getvalue(), shown
        elif shown is not None:
            yield code, run_shell(re.sub(BUDGET, '--budget="6 s"', code), directory), shown


ATTACK = r"apgd|pgd|autoattack|square"


def rows_of(card):
    """{what a row of a card's table is about: what it was measured on, less numbers and attack}."""
    table = re.search(r"^---+\n(.*?)\n\n", card, re.DOTALL | re.MULTILINE)[1]
    found = {}
    for row in table.splitlines():
        label, *_, last = re.split(r"\s{2,}", row)
        masked = re.sub(rf"[\d.,e/-]*\d|\b({ATTACK})\b", "#", last).replace("trials", "trial")
        found[label.partition(": ")[0]] = masked if re.search("[a-z]", masked) else ""
    return found


def assert_rows_of(printed, shown):
    """A card that had less time has rows of the one shown, with its texts, perhaps not all."""
    found, expected = rows_of(printed), rows_of(shown)
    few = {label for label, last in found.items() if last == "one trial says too little"}
    assert "accuracy" in found and few < found.keys() <= expected.keys()
    assert {k: v for k, v in found.items() if k not in few}.items() <= expected.items()


def run_page(name, directory, monkeypatch):
    monkeypatch.chdir(directory)
    monkeypatch.syspath_prepend(directory)
    keras.backend.clear_session()  # layer names count from the first model of the process
    known = set(sys.modules)
    found = list(outputs((GUIDES / name).read_text(), directory))
    for module in set(sys.modules) - known:
        if (directory / f"{module}.py").exists():
            del sys.modules[module]
    return found


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """The model that the index trains and all guides load."""
    directory = tmp_path_factory.mktemp("index")
    with pytest.MonkeyPatch.context() as patch:
        ((_, printed, shown),) = run_page(INDEX, directory, patch)
    assert_like(printed, shown)
    return directory / "my_model.keras"


@pytest.mark.parametrize("name", [name for name in PAGES if name != INDEX])
def test_a_guide_prints_what_it_shows(name, model_file, tmp_path, monkeypatch):
    shutil.copy(model_file, tmp_path)
    (tmp_path / "experiments").symlink_to(forked.ROOT / "experiments")  # as from the root
    for code, printed, shown in run_page(name, tmp_path, monkeypatch):
        assert printed == "" or shown, f"no output is shown of\n{code}"
        if "--budget" in code:
            assert_rows_of(printed, shown)
        else:
            assert_like(printed, shown or "")


def test_the_other_commands_parse(tmp_path):
    """Those that take minutes are not run; files that they import are those of their page."""
    commands = {}
    for name in PAGES:
        for number, (language, code, shown) in enumerate(blocks_of((GUIDES / name).read_text())):
            file = re.match(r"# (\w+\.py)\n", code)
            if file:
                (tmp_path / file[1]).write_text(code)
            if language == "bash" and shown is None:
                found = commands_of(code)
                commands |= {f"{name}-{number}-{i}": each for i, each in enumerate(found)}
    assert commands
    check_flags(commands, tmp_path)


@pytest.mark.parametrize("name", PAGES)
def test_a_guide_is_at_most_two_screens(name):
    assert len((GUIDES / name).read_text().splitlines()) <= 90


def test_the_index_names_every_guide():
    linked = set(re.findall(r"\]\((\w+\.md)\)", (GUIDES / INDEX).read_text()))
    assert linked == set(PAGES) - {INDEX}


def test_links_lead_to_files():
    for page in [*GUIDES.glob("*.md"), forked.ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_comparison_of_cards_sees_differences():
    card = "name\n----\naccuracy  82%  [1, 2]\nbit: 30  7  80 trials at 2e-05\nlost  2\n\nnot: a"
    assert_rows_of("----\naccuracy  80%\nbit: 7   2  1 trial at 0.01\n\n", card)
    assert_rows_of("----\naccuracy  80%\nbit: 7   -  one trial says too little\n\n", card)
    for other in (
        "----\nlost  80%\n\n",
        "----\naccuracy  82%\nnot measured  2\n\n",
        "----\naccuracy  82%\nbit: 30  7  8 trials of 2e-05\n\n",
    ):
        with pytest.raises(AssertionError):
            assert_rows_of(other, card)
