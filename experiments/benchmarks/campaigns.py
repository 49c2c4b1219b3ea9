"""`benchmark campaigns`: trials to a failure rate of +-1 point, ours and published rules."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from ft_tf import architectures, data, intervals
from ft_tf._compat import keras
from ft_tf.checks import check_positive_integer
from ft_tf.errors import ArgumentError
from ft_tf.faults import BitErrors, failure_rate
from ft_tf.faults.single_faults import prepared

NETWORKS = ("fmnist_dnn", "fmnist_cnn_1", "fmnist_cnn_2")
STORAGES = ("float32", "bfloat16", "int8_per_channel")
MARGIN, CONFIDENCE = 0.01, 0.95
FAILURE = "any_image"
_REPEATS = 1000
_FIRST, _EVERY = 100, 20
"""Trials before the iterative rule looks first, and between its looks."""


def sample_size(population: int, rate: float = 0.5) -> float:
    """Returns n = N / (1 + e^2 (N - 1) / (z^2 p (1 - p))) of a finite population; 0 at p = 0 or 1.

    Leveugle, Calvez, Maistri and Vanhauwaert 2009, "Statistical fault injection".

    >>> round(sample_size(10**9))
    9604
    """
    variance = stats.norm.ppf((1 + CONFIDENCE) / 2) ** 2 * rate * (1 - rate)
    return population * variance / (variance + MARGIN**2 * (population - 1))


def iterative_trials(outcomes: Sequence[float], population: int) -> int | None:
    """Trials of the iterative rule: until there are as many as p, estimated so far, asks for.

    Its interval is the normal one at a number of trials that depends on what they showed, and it
    stops at once where none has failed yet. None if the outcomes do not suffice.
    """
    means = np.cumsum(outcomes) / np.arange(1, len(outcomes) + 1)
    for count in range(_FIRST, len(outcomes) + 1, _EVERY):
        if count >= sample_size(population, float(means[count - 1])):
            return count
    return None


def plain_trials(rate: float) -> int:
    """Trials of plain random sampling until our valid interval of them is short enough."""
    betting = intervals.BettingInterval(level=CONFIDENCE, half_width=MARGIN)
    draw, count = np.random.Generator(np.random.Philox(2)), 0
    while not betting.settled:
        betting.add(float(draw.random() < rate))
        count += 1
    return count


def iterative_coverage(rate: float, population: int) -> float:
    """How often the iterative rule's estimate +- the margin contains the rate, in simulation."""
    draw, hits = np.random.Generator(np.random.Philox(3)), 0
    most = math.ceil(sample_size(population)) + _EVERY
    for _ in range(_REPEATS):
        outcomes = draw.random(most) < rate
        count = iterative_trials(outcomes, population)
        hits += abs(np.mean(outcomes[:count]) - rate) <= MARGIN
    return hits / _REPEATS


def run(
    *,
    rounds: int = 3,
    networks: tuple[str, ...] = NETWORKS,
    storages: tuple[str, ...] = STORAGES,
    data_dir: str | None = None,
    images: int = 500,
    epochs: int = 3,
) -> list[dict[str, Any]]:
    """Counts the trials of each rule on freshly trained networks.

    What is estimated is the share of single bit flips that change the prediction of at least one of
    the images. The other rules draw faults uniformly: the iterative one, whose trials are run; a
    fixed number, `sample_size` with p = 1/2, where nothing is known before; and plain sampling with
    our interval, which is simulated with the rate that ours estimates.

    Args:
        rounds: campaigns of ours for each row, with a seed each; the row has their median.
        networks: some of `architectures.NAMES`, for Fashion-MNIST.
        storages: storage formats.
        data_dir: TFDS directory with fashion_mnist; the embedded sample by default.
        images: test images of a trial.
        epochs: of training.

    Returns:
        A row for each network and format: network, storage, sites, accuracy; trials, rate, low,
        high (ours, of the campaign with the median number of trials); iterative, rate_iterative,
        coverage_iterative (the published rule's trials, its estimate, and how often estimate +- the
        margin contains our rate in simulations); plain, fixed; ratio (iterative / trials) and
        ratio_plain. The last row has the medians of the ratios.
    """
    check_positive_integer(rounds=rounds, images=images, epochs=epochs)
    for name in networks:
        if architectures.input_shape(name) != architectures.FMNIST_SHAPE:
            raise ArgumentError(f"architecture={name} must be one for Fashion-MNIST")
    rows = []
    for name in networks:
        model, x, y, accuracy = _trained(name, data_dir, images, epochs)
        for storage in storages:
            question = {"fault": BitErrors(storage), "failure": FAILURE, "margin": MARGIN}
            found = [failure_rate(model, x, y, seed=seed, **question) for seed in range(rounds)]
            found.sort(key=lambda one: one.trials)
            ours = found[rounds // 2]
            count, rate = _iterative(model, x, y, question["fault"])
            plain = plain_trials(ours.rate)
            row = {"network": name, "storage": storage, "sites": ours.sites, "accuracy": accuracy}
            row |= {"trials": ours.trials, "rate": ours.rate, "low": ours.low, "high": ours.high}
            row |= {"iterative": count, "rate_iterative": rate}
            row |= {"coverage_iterative": iterative_coverage(ours.rate, ours.sites)}
            row |= {"plain": plain, "fixed": round(sample_size(ours.sites))}
            row |= {"ratio": count / ours.trials, "ratio_plain": plain / ours.trials}
            rows.append(row)
    ratios = ("ratio", "ratio_plain")
    medians = {name: statistics.median(row[name] for row in rows) for name in ratios}
    return [*rows, {"network": "median", **medians}]


def _trained(
    name: str, data_dir: str | None, images: int, epochs: int
) -> tuple[keras.Model, np.ndarray, np.ndarray, float]:
    keras.utils.set_random_seed(0)
    model = architectures.build(name)
    dataset = data.load("fashion_mnist", data_dir=data_dir)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss=loss, metrics=["accuracy"])
    model.fit(dataset.x_train, dataset.y_train, batch_size=100, epochs=epochs, verbose=0)
    accuracy = model.evaluate(dataset.x_test, dataset.y_test, verbose=0)[1]
    return model, dataset.x_test[:images], dataset.y_test[:images], accuracy


def _iterative(
    model: keras.Model, x: np.ndarray, y: np.ndarray, fault: BitErrors
) -> tuple[int, float]:
    """Trials and estimate of the iterative rule."""
    outcomes: list[float] = []
    options = {"fault": fault, "failure": FAILURE, "predict": False, "seed": 0}
    with prepared(model, x, y, **options) as (sites, sampler):
        ends = np.cumsum([size for *_, size in sites.cells])
        draw = np.random.Generator(np.random.Philox(1))
        while (count := iterative_trials(outcomes, sampler.members)) is None:
            for _ in range(_EVERY):
                site = int(draw.integers(sampler.members))
                cell = int(np.searchsorted(ends, site, side="right"))
                member = site - int(ends[cell - 1] if cell else 0)
                outcomes.append(sites.run(cell, member)["outcome"])
    return count, float(np.mean(outcomes[:count]))
