"""The floors of the house: each part imports only what lies below it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Lower number, lower floor. Parts on one floor may not import one another unless listed below.
FLOORS = {
    "errors": 0, "checks": 1, "untrusted": 1, "_compat": 2, "keras_layers": 3,
    "examples": 4, "architectures": 3, "data": 3, "models": 4, "records": 3,
    "executors": 4, "intervals": 4, "metrics": 5,
    "privacy": 5, "attacks": 6, "faults": 7, "training": 8, "study": 9, "effects": 10,
    "report": 11, "assessment": 12,
}  # fmt: skip


def imported_parts(path):
    """Top-level parts of ft_tf that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ft_tf":
            pieces = node.module.split(".")
            found |= {pieces[1]} if len(pieces) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ft_tf.")}
    return found


@pytest.mark.parametrize("part", sorted(FLOORS))
def test_a_part_imports_only_lower_floors(part):
    base = ROOT / "ft_tf" / part
    files = sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]
    assert files
    for file in files:
        for other in imported_parts(file) - {part}:
            assert FLOORS[other] < FLOORS[part], f"{file.name} imports {other}"


def test_every_part_stands_on_a_floor():
    parts = {p.stem for p in (ROOT / "ft_tf").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert parts - {"__init__", "__pycache__"} == set(FLOORS)


def test_the_library_never_imports_the_binaries():
    for file in (ROOT / "ft_tf").rglob("*.py"):
        assert "experiments" not in {
            (node.module or "").split(".")[0]
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom)
        }


def test_what_a_class_of_layers_does_stands_in_one_table():
    """Elsewhere a layer's facts are asked for: no other part looks at Keras's classes."""
    asks = re.compile(
        r"(isinstance|issubclass)\([^\n]*(keras\.layers|_?L|_?layers)\.(?!Layer\b)[A-Z]"
        r"|type\(\w+\) (is|is not|in|not in) (keras\.|_[A-Z])"
    )
    for file in (ROOT / "ft_tf").rglob("*.py"):
        if file.parent.name != "keras_layers":
            assert not asks.search(file.read_text()), file.name


def test_importing_prints_nothing():
    code = "import ft_tf; ft_tf.metrics; ft_tf.training; ft_tf.faults; ft_tf.attacks"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_importing_the_package_alone_leaves_tensorflow_out():
    code = "import sys, ft_tf; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_two_test_modules_have_one_name():
    """Python would import the first for both: pytest puts all their folders on its path.

    Each folder may have its conftest, which pytest imports itself and nothing else may.
    """
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    names = [path.stem for path in files]
    assert [name for name in names if names.count(name) > 1] == []
    imports = re.compile(r"^(import|from) conftest\b", re.MULTILINE)
    assert [path.name for path in files if imports.search(path.read_text())] == []
