"""Code blocks of Markdown pages: found, run, and compared with the output shown below them."""

import json
import os
import re
import shlex
import subprocess
import sys

import forked
import pytest


def blocks_of(text):
    """Python and bash blocks in order: (language, code, the output shown below it or None)."""
    pattern = r"```(python|bash)\n(.*?)```(?:\n\n```text\n(.*?)```)?"
    return [found.groups() for found in re.finditer(pattern, text, re.DOTALL)]


def shown_after(text, language):
    """Code blocks of a language, each with the output that the page prints below it, or None."""
    return [block[1:] for block in blocks_of(text) if block[0] == language]


def commands_of(block):
    """The lines that call a binary, as lists of words, module first."""
    lines = re.findall(r"python -m (experiments\.[^\n&]*)", block)
    return [shlex.split(line) for line in lines]


NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


def assert_like(printed, shown):
    """The printed lines are those shown: the same words, numbers within a quarter or 0.03.

    Numbers differ with threads, processors and packages. A line "..." stands for any lines.
    """
    lines = iter(printed.splitlines())
    for line in shown.splitlines():
        if line.strip() == "...":
            continue
        words = NUMBER.sub("#", line).split()
        found = next((one for one in lines if NUMBER.sub("#", one).split() == words), None)
        assert found is not None, f"{line!r} is not in:\n{printed}"
        pairs = zip(NUMBER.findall(found), NUMBER.findall(line), strict=True)
        for now, then in ([float(n.replace(",", "")) for n in pair] for pair in pairs):
            assert now == pytest.approx(then, rel=0.25, abs=0.03), (found, line)


def run_shell(block, directory):
    """Runs a bash block in a directory, where the binaries find no data set but the sample."""
    binaries = os.path.dirname(sys.executable)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=directory,
        env={
            **os.environ,
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PYTHONPATH": str(forked.ROOT),
            "TFDS_DATA_DIR": str(directory),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_flags(commands, directory):
    """Command lines, by any name, parse: every flag that they set exists."""
    for name, (code, stdout, stderr) in forked.run_all(
        commands, directory, parse_only=True
    ).items():
        assert code == 0, f"{commands[name]}: {stderr}"
        given = [word.split("=")[0].lstrip("-") for word in commands[name][1:] if word[0] == "-"]
        assert set(given) <= set(json.loads(stdout))
