"""A measurement in a process of its own, which prints its result on the last line."""

import os
import subprocess
import sys
from collections.abc import Sequence

from ft_tf.errors import RunError


def last_line(command: Sequence[object], what: str) -> str:
    """Runs a command and returns the last line that it prints.

    Args:
        command: the program and its arguments; this Python finds the modules found here.
        what: what a failure is called.

    Raises:
        RunError: the command cannot be started, or failed: its last line on stderr is said.
    """
    environment = dict(os.environ)
    if command[0] == sys.executable:  # another one has packages of its own
        environment["PYTHONPATH"] = os.pathsep.join(part or os.getcwd() for part in sys.path)
    try:
        done = subprocess.run(
            [*map(str, command)], env=environment, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise RunError(f"{what} cannot be started: {error}") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RunError(f"{what} ended early: {said}")
    return done.stdout.splitlines()[-1]
