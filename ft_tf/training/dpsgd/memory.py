"""What `benchmark memory` measures: peak memory of DP-SGD against plain SGD, by batch size.

Every training runs in a process of its own, python -m ft_tf.training.dpsgd.memory CONTENDER
ARCHITECTURE BATCH_SIZE EXAMPLES THREADS, which prints its peak in bytes.
"""

import os
import resource
import statistics
import subprocess
import sys
from typing import Any

import numpy as np

from ft_tf import architectures, checks
from ft_tf._compat import set_threads, threads
from ft_tf.errors import RunError
from ft_tf.training.dpsgd.benchmark import CONTENDERS

MEASURED = ("plain", "fast")
BATCH_SIZES = (4096, 16_384)
_MEGABYTE = 1e6


def peak_memory() -> int:
    """Largest resident memory that this process has had, in bytes."""
    try:
        # Where there is no /proc, getrusage must do; a child of a large process may get its size.
        with open("/proc/self/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _train(contender: str, architecture: str, batch_size: int, examples: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((examples, *architectures.input_shape(architecture)), dtype=np.float32)
    y = rng.integers(0, 2, examples)
    make = next(known.make for known in CONTENDERS if known.name == contender)
    make(architecture, x, y, batch_size)(examples // batch_size)


def _peak_of_child(contender: str, architecture: str, batch_size: int, examples: int) -> int:
    words = (contender, architecture, batch_size, examples, threads())
    done = subprocess.run(
        [sys.executable, "-m", __name__, *map(str, words)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RunError(f"contender={contender} at batch_size={batch_size} ended early: {said}")
    return int(done.stdout.split()[-1])


def benchmark_memory(
    *, architecture: str, batch_size: int | None = None, rounds: int = 3
) -> list[dict[str, Any]]:
    """Peak memory of plain and private training on random arrays, twice the largest batch long.

    Args:
        architecture: one of ft_tf.architectures.NAMES.
        batch_size: examples per step, the expected number in private training; BATCH_SIZES where
            left out.
        rounds: how often each training is measured, in turn.

    Returns:
        One row per batch size and contender: `contender` ("plain": a bare SGD step, "fast":
        DPSGDModel), `batch_size`, `peak_mb` (median over rounds, in 10^6 bytes), `low`, `high`, and
        `above_plain_mb`, the difference of medians at the same batch size.

    Raises:
        ArgumentError: an argument is out of range.
        RunError: a training did not end well, by lack of memory say.
    """
    checks.check_choice(architectures.NAMES, architecture=architecture)
    checks.check_positive_integer(rounds=rounds)
    if batch_size is not None:
        checks.check_positive_integer(batch_size=batch_size)
    sizes = BATCH_SIZES if batch_size is None else (batch_size,)
    cases = [(size, contender) for size in sizes for contender in MEASURED]
    peaks: dict[tuple[int, str], list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for size, contender in cases:
            peak = _peak_of_child(contender, architecture, size, 2 * max(sizes))
            peaks[size, contender].append(peak / _MEGABYTE)
    medians = {case: statistics.median(values) for case, values in peaks.items()}
    return [
        {
            "contender": contender,
            "batch_size": size,
            "peak_mb": medians[size, contender],
            "low": min(peaks[size, contender]),
            "high": max(peaks[size, contender]),
            "above_plain_mb": medians[size, contender] - medians[size, MEASURED[0]],
        }
        for size, contender in cases
    ]


def main(arguments: list[str]) -> None:
    """One training in this process."""
    contender, architecture, batch_size, examples, thread_count = arguments
    set_threads(int(thread_count))
    _train(contender, architecture, int(batch_size), int(examples))
    print(peak_memory())


if __name__ == "__main__":
    main(sys.argv[1:])
