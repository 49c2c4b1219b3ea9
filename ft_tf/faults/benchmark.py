"""How fast a fault campaign is, beside the loop that a user would write."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ft_tf import architectures, data, intervals
from ft_tf._compat import keras
from ft_tf.checks import check_positive_integer
from ft_tf.errors import DataError
from ft_tf.faults.campaign import Campaign, drawn_ahead, image_rows
from ft_tf.faults.plan import make_plan

IMAGES = 10_000
RATE = 0.5
HALF_WIDTH = 0.005
_NAIVE_BATCH = 128
_PILOT = 12
_SMALL = 500


def benchmark_faults(
    *,
    architecture: str = "fmnist_dnn",
    batch_size: int = 1000,
    data_dir: str | None = None,
    rounds: int = 3,
    epochs: int = 2,
) -> list[dict[str, Any]]:
    """Times trials at rate 0.5 over 10,000 images: ours, and set_weights with evaluate.

    The loop draws NumPy masks, calls `set_weights` and `evaluate` at batch 128. Both run in turn
    (A B A B ...); figures are medians. The time to an interval of +- 0.5 points is the number of
    trials that Stein's procedure asks for, from a pilot's variance, times the time of a trial: the
    loop on all images, ours on the subset of images that costs least.

    Args:
        architecture: one of `architectures.NAMES` with image input.
        batch_size: of our evaluation.
        data_dir: TFDS directory for the images; Fashion-MNIST has an embedded sample, tiled to
            10,000 test images. Without data the images are noise and the model is not trained.
        rounds: how often each is timed.
        epochs: training before, so that the spread between masks is that of a trained model.

    Returns:
        A row for "weights" and one for "units": architecture, target, images, data,
        clean_accuracy, loop_seconds, trial_seconds, ratio, loop_trials, loop_interval_seconds,
        images_per_trial, trials, interval_seconds, interval_ratio.
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
    except DataError:
        generator = np.random.Generator(np.random.Philox(0))
        shape = (IMAGES, *architectures.input_shape(architecture))
        return (
            generator.random(shape, dtype=np.float32),
            generator.integers(0, 10, IMAGES),
            "noise, untrained",
        )
    model.fit(dataset.x_train, dataset.y_train, batch_size=100, epochs=epochs, verbose=0)
    repeats = -(-IMAGES // len(dataset.x_test))
    x = np.concatenate([dataset.x_test] * repeats)[:IMAGES]
    y = np.concatenate([dataset.y_test] * repeats)[:IMAGES]
    return x, y, dataset.source


def _timed(
    model: keras.Model, x: np.ndarray, y: np.ndarray, target: str, batch_size: int, rounds: int
) -> dict[str, Any]:
    generator = np.random.Generator(np.random.Philox(1))
    campaign = Campaign(model, make_plan(model, target=target), x, y, batch_size=batch_size)
    clean = model.get_weights()

    def loop_trial() -> None:
        model.set_weights(_loop_weights(model, clean, target, generator))
        model.evaluate(x, y, batch_size=_NAIVE_BATCH, verbose=0)
        model.set_weights(clean)

    def our_trials(count: int, images: int | None, first: int) -> list[float]:
        plan = make_plan(model, target=target)
        numbers = list(range(first, first + count))
        with campaign.armed():
            return [
                campaign.run(masks, image_rows(seed=0, trial=trial, images=len(x), count=images))[
                    "accuracy"
                ]
                for trial, _, masks in drawn_ahead(plan, 0, numbers, [RATE])
            ]

    loop_trial()
    pilot = our_trials(_PILOT, None, 0)  # also compiles
    our_trials(2, _SMALL, 0)
    loop, full, small = [], [], []
    for number in range(rounds):
        loop.append(_seconds(loop_trial))
        full.append(_seconds(lambda n=number: our_trials(4, None, 100 + 4 * n)) / 4)
        small.append(_seconds(lambda n=number: our_trials(20, _SMALL, 200 + 20 * n)) / 20)
    times = [float(np.median(values)) for values in (loop, full, small)]
    return {
        "images": len(x),
        "clean_accuracy": campaign.measures.clean_accuracy,
        "loop_seconds": times[0],
        "trial_seconds": times[1],
        "ratio": times[0] / times[1],
        **_time_to_interval(pilot, *times, images=len(x)),
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


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _time_to_interval(
    pilot: list[float], loop: float, full: float, small: float, *, images: int
) -> dict[str, Any]:
    """Trials and seconds to +- HALF_WIDTH, from the pilot's variance and the measured times."""
    components = intervals.variance_components(pilot, images_per_trial=images, images=images)
    loop_trials = intervals.stein_trials(
        components.between, half_width=HALF_WIDTH, pilot_trials=_PILOT
    )
    per_image = max((full - small) / (images - _SMALL), 1e-9)
    per_trial = max(small - per_image * _SMALL, 0.0)
    best = intervals.allocate(
        components,
        half_width=HALF_WIDTH,
        cost_per_trial=per_trial,
        cost_per_image=per_image,
        pilot_trials=_PILOT,
    )
    return {
        "loop_trials": loop_trials,
        "loop_interval_seconds": loop_trials * loop,
        "images_per_trial": best.images_per_trial,
        "trials": best.trials,
        "interval_seconds": best.cost,
        "interval_ratio": loop_trials * loop / best.cost,
    }
