"""Colour and width: on a terminal, in a pipe, and when the environment asks for less."""

import os
import pty
import subprocess
import sys

import forked
import pytest

from experiments import _terminal
from ft_tf import architectures

BAD = ["--noise_multiplier=-1"]
LONG = ["--noise_multiplier=0.5"]  # a statement, and warnings


def environment(**changes):
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "TERM")}
    return {**kept, "PYTHONPATH": str(forked.ROOT), "TERM": "xterm-256color", **changes}


def in_a_pipe(arguments, binary="compute_epsilon", **changes):
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{binary}", *arguments],
        capture_output=True, text=True, env=environment(**changes), timeout=120,
    )  # fmt: skip
    return done.stdout, done.stderr


def on_a_terminal(arguments, **changes):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.compute_epsilon", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**changes),
    )  # fmt: skip
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    process.wait(timeout=120)
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_an_error_is_red_on_a_terminal_only():
    assert "\x1b[1;31merror:\x1b[0m noise_multiplier=-1" in on_a_terminal(BAD)
    assert "\x1b" not in "".join(in_a_pipe(BAD))


@pytest.mark.parametrize("change", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_the_environment_can_refuse_colour(change):
    text = on_a_terminal(BAD, **change)
    assert "\x1b" not in text
    assert "error: noise_multiplier=-1" in text


def test_names_in_shown_lines_do_not_steer_the_terminal(capsys):
    _terminal.show("a layer\x1b]0;x\x07\n  its faults")
    assert capsys.readouterr().out == "a layer ]0;x \n  its faults\n"


def test_text_is_broken_at_the_terminals_width():
    lines = on_a_terminal(LONG, COLUMNS="60", NO_COLOR="1").splitlines()
    assert max(map(len, lines)) <= 60
    assert len(lines) > 20


def test_in_a_pipe_paragraphs_stay_whole_unless_a_width_is_asked_for():
    whole, _ = in_a_pipe(LONG)
    assert max(map(len, whole.splitlines())) > 300
    narrow, _ = in_a_pipe(LONG, COLUMNS="70")
    assert max(map(len, narrow.splitlines())) <= 70
    assert narrow.split() == whole.split()  # the same words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("binary", "flags"),
    [
        ("inject_faults", ["--rates=0,0.5", "--trials=1", "--layer_trials=1", "--predict"]),
        ("attack", ["--attack=fgsm", "--images=50"]),
    ],
)
def test_the_binaries_on_models_keep_to_the_width_too(binary, flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names without spaces are not broken: a short path
    architectures.build("fmnist_dnn", seed=0).save("m.keras")
    given = ["--model=m.keras", "--dataset=fashion_mnist", *flags]
    stdout, stderr = in_a_pipe(given, binary, COLUMNS="60")
    assert stderr == "" and len(stdout.splitlines()) > 3
    words = max(map(len, stdout.split()))
    assert max(map(len, stdout.splitlines())) <= max(60, words + 6), stdout
    assert "\n\n" not in stdout
