"""A package that is not there is one line, from every binary on top of TensorFlow."""

import subprocess
import sys
import textwrap

import pytest

WITHOUT = textwrap.dedent(
    """
    import importlib.abc, runpy, sys

    missing, *arguments = sys.argv[1:]

    class Blocked(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == missing:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Blocked())
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    """
)
BINARIES = {
    "train": (),
    "reproduce": (),
    "inject_faults": (),
    "attack": (),
    "benchmark": ("trades",),
    "prepare_data": ("--dataset=cifar10", "--from=nowhere"),
}


def run_without(package, name, *arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, package, f"experiments.{name}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("package", "name"),
    [*(("tensorflow", name) for name in BINARIES), ("keras", "train")],
)
def test_a_missing_package_is_one_line(package, name, tmp_path):
    done = run_without(package, name, *BINARIES[name])
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert f"No module named {package!r}" in line and "pip install" in line


def test_verbose_shows_where(tmp_path):
    done = run_without("tensorflow", "train", "--verbose")
    assert done.returncode != 0
    assert "Traceback" in done.stderr and "StackError" in done.stderr
