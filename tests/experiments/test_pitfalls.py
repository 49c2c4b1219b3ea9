"""The pages beside the README name code, tests, commands and flags that exist."""

import importlib
import re

import forked
import pytest

PAGES = forked.ROOT / "experiments"
PITFALLS = (PAGES / "PITFALLS.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PITFALLS.splitlines()
    if line.startswith("|") and not re.match(r"\|( how|-)", line)
]


def resolved(name):
    """The object that a dotted name stands for."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            found = getattr(found, attribute)
        return found
    raise AssertionError(f"{name} cannot be imported")


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_a_pitfall_names_code_and_a_test_that_exist(row):
    pitfall, severity, handled, where = row
    assert severity in ("severe", "moderate", "minor")
    assert pitfall and handled
    names = re.findall(r"`([^`]+)`", where)
    tests = [name for name in names if "::" in name]
    code = [name for name in names if "::" not in name]
    assert tests and code
    for name in code:
        assert resolved(name) is not None
    for name in tests:
        path, function = name.split("::")
        assert re.search(rf"^def {function}\(", (forked.ROOT / path).read_text(), re.MULTILINE)


def test_the_check_sees_a_name_that_does_not_exist():
    with pytest.raises((AttributeError, AssertionError)):
        resolved("ft_tf.faults.no_such_thing")


def test_there_are_pitfalls_of_every_kind():
    assert PITFALLS.count("\n## ") == 5
    assert len(ROWS) > 40
