"""`benchmark scaling`: time and memory against batch size, width and depth.

The networks are dense ones for 28x28 images; each case runs in a process of its own, python -m
experiments.benchmarks.scaling WORK BATCH_SIZE WIDTH DEPTH SECONDS THREADS.
"""

import functools
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.benchmarks import child, memory, peers, timer
from experiments.benchmarks.operations import operations_of
from ft_tf import architectures, checks, records
from ft_tf._compat import keras, set_threads, threads
from ft_tf.errors import ArgumentError
from ft_tf.faults.campaign import Campaign, drawn_ahead
from ft_tf.faults.plan import make_plan

WORKS = ("dpsgd", "trades", "fault trial")
VALUES = {"batch_size": (125, 250, 500), "width": (256, 512, 1024), "depth": (2, 4, 8)}
USUAL = {"batch_size": 250, "width": 512, "depth": 2}
"""What the other two are while one varies; depth counts hidden layers."""
FAULT_RATE, TRIAL_IMAGES = 0.01, 40
"""Images of a trial: that many times the batch size."""
_STEPS = {"dpsgd": 160, "trades": 32}
"""Of an epoch of training, whose own cost is then small beside them."""
_NAMES = {
    "dpsgd": "DP-SGD step", "trades": "TRADES step",
    "fault trial": f"fault trial, {TRIAL_IMAGES} batches",
}  # fmt: skip
_MEGABYTE = 1e6


def run(
    *,
    rounds: int = 3,
    seconds: float = 3.0,
    works: tuple[str, ...] = WORKS,
    output: str | None = None,
) -> list[dict[str, Any]]:
    """Times a DP-SGD step, a TRADES step (10 of the attack) and a trial of faulty weights.

    Args:
        rounds: measurements of each case; cases take turns.
        seconds: about the time of a measurement.
        works: some of `WORKS`.
        output: a PNG, PDF or SVG file for the figure; none without it.

    Returns:
        A row for each work and value: work, varies, value, parameters, gflop (of plain training or
        of the trial's forward passes; one of TRADES is counted as in `benchmark trades`),
        milliseconds (median), low, high, ms_per_gflop, peak_mb (10^6 bytes, of the process).
        ms_per_gflop is level where time is proportional to the arithmetic.
    """
    checks.check_positive_integer(rounds=rounds)
    checks.check_positive(seconds=seconds)
    for work in works:
        checks.check_choice(WORKS, work=work)
    if output is not None:
        if not output.endswith((".png", ".pdf", ".svg")):
            raise ArgumentError(f"output={output!r} must end in .png, .pdf or .svg")
        records.check_writable(Path(output))
    cases = [(work, name, value) for work in works for name in VALUES for value in VALUES[name]]
    found: dict[tuple[str, str, int], list[dict[str, float]]] = {case: [] for case in cases}

    def measure(case: tuple[str, str, int]) -> float:
        work, name, value = case
        found[case].append(_child(work, **{**USUAL, name: value}, seconds=seconds))
        return found[case][-1]["seconds"]

    times = timer.in_turn({case: functools.partial(measure, case) for case in cases}, rounds)
    rows = []
    for (work, name, value), samples in times.items():
        last = found[work, name, value][-1]
        peaks = [one["peak"] for one in found[work, name, value]]
        rows.append({
            "work": work, "varies": name, "value": value, "parameters": int(last["parameters"]),
            "gflop": last["operations"] / 1e9, "milliseconds": 1e3 * samples.median,
            "low": 1e3 * samples.low, "high": 1e3 * samples.high,
            "ms_per_gflop": 1e12 * samples.median / last["operations"],
            "peak_mb": float(np.median(peaks)) / _MEGABYTE,
        })  # fmt: skip
    if output:
        draw(rows).savefig(Path(output), dpi=150)
    return rows


def draw(rows: Iterable[dict[str, Any]]) -> Figure:
    """Draws time (above) and memory (below) against each value, a line for each work."""
    rows = list(rows)
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    panels = figure.subplots(2, len(VALUES), sharey="row", sharex="col")
    labels = {"milliseconds": "step or trial, ms", "peak_mb": "process's peak, MB"}
    for line, (column, label) in zip(panels, labels.items(), strict=True):
        for axes, name in zip(line, VALUES, strict=True):
            for work in dict.fromkeys(row["work"] for row in rows):
                of = [row for row in rows if (row["work"], row["varies"]) == (work, name)]
                axes.plot([row["value"] for row in of], [row[column] for row in of],
                          marker="o", label=_NAMES[work])  # fmt: skip
            axes.set_xscale("log", base=2)
            if column == "milliseconds":
                axes.set_yscale("log", subs=(2, 5))
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter("{x:g}")
            axes.set_xticks(VALUES[name], [str(value) for value in VALUES[name]])
        line[0].set_ylabel(label)
    for axes, name in zip(panels[-1], VALUES, strict=True):
        axes.set_xlabel(name.replace("_", " "))
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=8)
    return figure


def _child(work: str, *, seconds: float, **shape: int) -> dict[str, float]:
    command = [sys.executable, "-m", __name__, work, *(shape[name] for name in USUAL)]
    return json.loads(child.last_line([*command, seconds, threads()], f"work={work!r} at {shape}"))


def _network(width: int, depth: int) -> str:
    """Registers a dense network of that width and number of hidden layers; returns its name."""
    name = f"dense_{width}_{depth}"

    def layers(make: architectures.LayerMaker) -> list[keras.layers.Layer]:
        hidden = [layer for _ in range(depth) for layer in make.dense(width)]
        return [*make.flatten(), *hidden, *make.logits()]

    architectures.register(name, layers, input_shape=architectures.FMNIST_SHAPE)
    return name


def measured(
    work: str, batch_size: int, width: int, depth: int, seconds: float
) -> dict[str, float]:
    """Returns seconds of a step or trial, its operations, the parameters and the peak in bytes."""
    architecture = _network(width, depth)
    model = architectures.build(architecture)
    forward, training = operations_of(model)
    if work == "fault trial":
        images = TRIAL_IMAGES * batch_size
        once, operations = _trial(model, images, batch_size), forward * images
    else:
        trades = 2 * peers.ATTACK["num_steps"] * forward + 2 * training
        operations = batch_size * (training if work == "dpsgd" else trades)
        once = _step(work, architecture, batch_size)
    once()  # compiles
    found = timer.seconds(once, at_least=seconds)
    units = _STEPS.get(work, 1)
    return {
        "seconds": found / units, "operations": operations,
        "parameters": model.count_params(), "peak": memory.peak_memory(),
    }  # fmt: skip


def _step(work: str, architecture: str, batch_size: int) -> Callable[[], Any]:
    trainer = peers.trainer(work, architecture)
    x, y = _images(_STEPS[work] * batch_size)
    return lambda: trainer.fit(x, y, batch_size=batch_size, epochs=1, verbose=0)


def _trial(model: keras.Model, images: int, batch_size: int) -> Callable[[], None]:
    plan = make_plan(model, target="weights")
    campaign = Campaign(model, plan, *_images(images), batch_size=batch_size)
    numbers = iter(range(1_000_000))

    def trial() -> None:
        with campaign.armed():
            for _, _, masks in drawn_ahead(plan, 0, [next(numbers)], [FAULT_RATE]):
                campaign.run(masks)

    return trial


def _images(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw_from = np.random.Generator(np.random.Philox(0))
    shape = (count, *architectures.FMNIST_SHAPE)
    return draw_from.random(shape, dtype=np.float32), draw_from.integers(0, 10, count)


def main(work: str, *numbers: str) -> None:
    """Runs one case in this process."""
    *shape, seconds, thread_count = numbers
    set_threads(int(thread_count))
    print(json.dumps(measured(work, *map(int, shape), float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
