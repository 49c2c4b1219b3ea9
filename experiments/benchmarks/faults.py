"""`benchmark faults`: the time of a fault campaign, and of the loop that a user would write."""

import itertools
import time
from typing import Any

import numpy as np
import pandas as pd

from experiments.benchmarks import timer
from ft_tf import architectures, data, intervals
from ft_tf._compat import keras
from ft_tf.checks import check_positive_integer
from ft_tf.errors import DataNotFoundError
from ft_tf.faults.campaign import Campaign, drawn_ahead, sweep
from ft_tf.faults.plan import make_plan
from ft_tf.faults.summary import summarize

IMAGES = 10_000
RATE = 0.5
HALF_WIDTH = 0.005
_NAIVE_BATCH = 128
_MOST_TRIALS = 20_000
_LONG_TRIAL = 2.0  # seconds; longer trials are timed one at a time
_CIFAR_EXAMPLES = 10_000  # nine convolutions: an epoch of all 50,000 would take minutes


def run(
    *,
    architecture: str = "fmnist_dnn",
    batch_size: int = 1000,
    data_dir: str | None = None,
    rounds: int = 3,
    epochs: int = 2,
) -> list[dict[str, Any]]:
    """Times trials at rate 0.5 over 10,000 images: ours, and set_weights with evaluate.

    The loop draws NumPy masks, calls `set_weights` and `evaluate` at batch 128.

    The time to an interval of +- 0.5 points is, for ours, that of one call of
    `sweep(margin=0.005, method="stein")`: finding sites, compiling, the clean pass and the
    pilot included. For the loop, which tests all images in each trial, it is the number of trials
    that the same procedure asks for with a pilot of the same length, the pilot's among them, times
    the measured time of a trial; their variance is the one between masks, from our rows.

    Args:
        architecture: one of `architectures.NAMES` with image input.
        batch_size: of our evaluation.
        data_dir: TFDS directory for the images; Fashion-MNIST has an embedded sample, tiled to
            10,000 test images. Without data the images are noise and the model is not trained.
        rounds: measurements of each.
        epochs: epochs of training before, so that masks differ as they do on a trained model.

    Returns:
        A row for "weights" and one for "units": architecture, target, images, data,
        clean_accuracy, loop_seconds, trial_seconds, ratio, loop_trials, loop_interval_seconds,
        images_per_trial, trials, half_width (reached), interval_seconds, interval_ratio; and
        cheapest_images, cheapest_seconds: what `intervals.allocate` would choose with hindsight
        for the times measured, and the seconds that it would take after the pilot.
    """
    check_positive_integer(batch_size=batch_size, rounds=rounds)
    model = architectures.build(architecture)
    x, y, source = _images(architecture, model, data_dir, epochs)
    rows = []
    for target in ("weights", "units"):
        timed = _timed(model, x, y, target, batch_size, rounds)
        rows.append({"architecture": architecture, "target": target, "data": source, **timed})
    return rows


def _images(
    architecture: str, model: keras.Model, data_dir: str | None, epochs: int
) -> tuple[np.ndarray, np.ndarray, str]:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss=loss, metrics=["accuracy"])
    name = "cifar10" if architecture.startswith("cifar10") else "fashion_mnist"
    try:
        dataset = data.load(name, data_dir=data_dir)
    except DataNotFoundError:
        generator = np.random.Generator(np.random.Philox(0))
        shape = (IMAGES, *architectures.input_shape(architecture))
        return (
            generator.random(shape, dtype=np.float32),
            generator.integers(0, 10, IMAGES),
            "noise, untrained",
        )
    most = _CIFAR_EXAMPLES if name == "cifar10" else len(dataset.x_train)
    x, y = dataset.x_train[:most], dataset.y_train[:most]
    model.fit(x, y, batch_size=100, epochs=epochs, verbose=0)
    repeats = -(-IMAGES // len(dataset.x_test))
    x = np.concatenate([dataset.x_test] * repeats)[:IMAGES]
    y = np.concatenate([dataset.y_test] * repeats)[:IMAGES]
    return x, y, dataset.source


def _timed(
    model: keras.Model, x: np.ndarray, y: np.ndarray, target: str, batch_size: int, rounds: int
) -> dict[str, Any]:
    generator = np.random.Generator(np.random.Philox(1))
    plan = make_plan(model, target=target)
    campaign = Campaign(model, plan, x, y, batch_size=batch_size)
    clean = model.get_weights()

    def loop_trial() -> None:
        model.set_weights(_loop_weights(model, clean, target, generator))
        model.evaluate(x, y, batch_size=_NAIVE_BATCH, verbose=0)
        model.set_weights(clean)

    def our_trials(count: int, first: int) -> None:
        with campaign.armed():
            for _, _, masks in drawn_ahead(plan, 0, list(range(first, first + count)), [RATE]):
                campaign.run(masks)

    loop_trial()
    our_trials(1, 0)  # compiles
    count = 4 if timer.seconds(lambda: our_trials(1, 0)) < _LONG_TRIAL else 1
    firsts = itertools.count(100, count)
    times = timer.in_turn(
        {
            "loop": lambda: timer.seconds(loop_trial),
            "ours": lambda: timer.seconds(lambda: our_trials(count, next(firsts)), units=count),
        },
        rounds,
    )
    loop, ours = times["loop"].median, times["ours"].median
    return {
        "images": len(x),
        "clean_accuracy": campaign.measures.clean_accuracy,
        "loop_seconds": loop,
        "trial_seconds": ours,
        "ratio": loop / ours,
        **_time_to_interval(model, x, y, target, batch_size, loop, ours),
    }


def _loop_weights(
    model: keras.Model, clean: list[np.ndarray], target: str, generator: np.random.Generator
) -> list[np.ndarray]:
    if target == "weights":
        return [value * (generator.random(value.shape) >= RATE) for value in clean]
    faulty = [value.copy() for value in clean]
    for kernel, bias in zip(faulty[:-2:2], faulty[1:-2:2], strict=True):
        dead = generator.random(len(bias)) < RATE
        kernel[..., dead] = 0.0
        bias[dead] = 0.0
    return faulty


def _time_to_interval(
    model: keras.Model,
    x: np.ndarray,
    y: np.ndarray,
    target: str,
    batch_size: int,
    loop: float,
    full: float,
) -> dict[str, Any]:
    """Runs a campaign until its interval is +- HALF_WIDTH, and estimates the loop's time."""
    ends: list[float] = []
    start = time.perf_counter()
    frame = sweep(
        model,
        x,
        y,
        target=target,
        rates=[RATE],
        trials=_MOST_TRIALS,
        seed=0,
        margin=HALF_WIDTH,
        method="stein",
        batch_size=batch_size,
        progress=lambda row: ends.append(time.perf_counter()),
    )
    seconds = time.perf_counter() - start
    return interval_figures(frame, seconds, loop=loop, full=full, small=np.median(np.diff(ends)))


def interval_figures(
    frame: pd.DataFrame, seconds: float, *, loop: float, full: float, small: float
) -> dict[str, Any]:
    """Returns trials and seconds to +- HALF_WIDTH, ours and the loop's, pilots included.

    Args:
        frame: our campaign at one rate, stopped by "stein".
        seconds: its time.
        loop: seconds of one of the loop's trials.
        full: seconds of one of ours on all images.
        small: seconds of one of ours on `images_per_trial`.
    """
    images, some = frame.attrs["images"], frame.attrs["images_per_trial"]
    pilot = frame.attrs["stop_rule"]["pilot"]
    components = intervals.variance_components(
        frame["accuracy"], images_per_trial=some, images=images
    )
    stein = {"half_width": HALF_WIDTH, "pilot_trials": pilot}
    loop_trials = intervals.stein_trials(components.between, **stein)
    per_image = max((full - small) / max(1, images - some), 1e-9)
    per_trial = max(small - per_image * some, 0.0)
    best = intervals.allocate(
        components, cost_per_trial=per_trial, cost_per_image=per_image, **stein
    )
    summary = summarize(frame).iloc[0]
    return {
        "loop_trials": loop_trials,
        "loop_interval_seconds": loop_trials * loop,
        "images_per_trial": some,
        "trials": len(frame),
        "half_width": (summary["high"] - summary["low"]) / 2,
        "interval_seconds": seconds,
        "interval_ratio": loop_trials * loop / seconds,
        "cheapest_images": best.images_per_trial,
        "cheapest_seconds": best.cost,
    }
