"""`benchmark memory`: peak memory of DP-SGD against plain SGD, by batch size.

Every training runs in a separate process, python -m experiments.benchmarks.memory CONTENDER
ARCHITECTURE BATCH_SIZE EXAMPLES THREADS, which prints its peak in bytes.
"""

import functools
import resource
import sys
from typing import Any

import numpy as np

from experiments.benchmarks import child, timer
from experiments.benchmarks.dpsgd import CONTENDERS
from ft_tf import architectures, checks
from ft_tf._compat import set_threads, threads

MEASURED = ("plain", "fast")
BATCH_SIZES = (4096, 16_384)
_MEGABYTE = 1e6


def peak_memory() -> int:
    """Returns the largest resident memory of this process so far, in bytes."""
    try:
        # getrusage, for systems without /proc, may count the size of the parent process in.
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
    command = [sys.executable, "-m", __name__, contender, architecture]
    command += map(str, (batch_size, examples, threads()))
    return int(child.last_line(command, f"contender={contender} at batch_size={batch_size}"))


def run(
    *, architecture: str, batch_size: int | None = None, rounds: int = 3
) -> list[dict[str, Any]]:
    """Measures the peak memory of plain and private training on random arrays.

    The arrays hold twice as many examples as the largest batch.

    Args:
        architecture: one of ft_tf.architectures.NAMES.
        batch_size: examples per step, the expected number in private training; BATCH_SIZES by
            default.
        rounds: measurements of each training.

    Returns:
        One row per batch size and contender: `contender` ("plain": a bare SGD step, "fast":
        DPSGDModel), `batch_size`, `peak_mb` (median over rounds, in 10^6 bytes), `low`, `high`, and
        `above_plain_mb`, the difference of medians at the same batch size.

    Raises:
        ArgumentError: an argument is out of range.
        RunError: a training failed, for lack of memory say.
    """
    checks.check_choice(architectures.NAMES, architecture=architecture)
    checks.check_positive_integer(rounds=rounds)
    if batch_size is not None:
        checks.check_positive_integer(batch_size=batch_size)
    sizes = BATCH_SIZES if batch_size is None else (batch_size,)
    cases = [(size, contender) for size in sizes for contender in MEASURED]

    def measure(size: int, contender: str) -> float:
        return _peak_of_child(contender, architecture, size, 2 * max(sizes)) / _MEGABYTE

    peaks = timer.in_turn({case: functools.partial(measure, *case) for case in cases}, rounds)
    return [
        {
            "contender": contender,
            "batch_size": size,
            "peak_mb": peaks[size, contender].median,
            "low": peaks[size, contender].low,
            "high": peaks[size, contender].high,
            "above_plain_mb": peaks[size, contender].median - peaks[size, MEASURED[0]].median,
        }
        for size, contender in cases
    ]


def main(arguments: list[str]) -> None:
    """Runs one training in this process."""
    contender, architecture, batch_size, examples, thread_count = arguments
    set_threads(int(thread_count))
    _train(contender, architecture, int(batch_size), int(examples))
    print(peak_memory())


if __name__ == "__main__":
    main(sys.argv[1:])
