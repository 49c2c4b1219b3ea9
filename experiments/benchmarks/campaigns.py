"""`benchmark campaigns`: trials to a failure rate of +-1 point, ours and published rules."""

import statistics
from typing import Any

import numpy as np
from scipy import stats

from ft_tf import architectures, data
from ft_tf._compat import keras
from ft_tf.checks import check_positive_integer
from ft_tf.faults import BitErrors, failure_rate
from ft_tf.faults.single_faults import prepared

NETWORKS = ("fmnist_dnn", "fmnist_cnn_1", "fmnist_cnn_2")
STORAGES = ("float32", "int8_per_channel")
MARGIN, CONFIDENCE = 0.01, 0.95
FAILURES = ("image", "any_image")
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


def iterative_trials(outcomes: np.ndarray, population: int) -> int | None:
    """Trials of the iterative rule: until there are as many as p, estimated so far, asks for.

    Its interval is the normal one at a number of trials that depends on what they showed, and it
    stops at once where none has failed yet. None if the outcomes do not suffice.
    """
    for count in range(_FIRST, len(outcomes) + 1, _EVERY):
        if count >= sample_size(population, float(np.mean(outcomes[:count]))):
            return count
    return None


def run(
    *,
    rounds: int = 3,
    networks: tuple[str, ...] = NETWORKS,
    storages: tuple[str, ...] = STORAGES,
    data_dir: str | None = None,
    images: int = 200,
    epochs: int = 3,
) -> list[dict[str, Any]]:
    """Counts the trials of each rule on freshly trained networks.

    Faults are single bit flips of the weights. The other rules draw them uniformly: the iterative
    one, and a fixed number, `sample_size` with p = 1/2, where nothing is known before.

    Args:
        rounds: campaigns of ours for each row, with a seed each; the row has their median.
        networks: some of `architectures.NAMES` with image input.
        storages: storage formats.
        data_dir: TFDS directory with fashion_mnist; the embedded sample by default.
        images: test images of a trial.
        epochs: of training.

    Returns:
        A row for each network, format and kind of failure (see `single_faults.FAILURES`): network,
        storage, failure, sites, accuracy; trials, rate, low, high (ours, of the campaign with the
        median number of trials); iterative, rate_iterative, fixed (the other rules' trials, and
        what the iterative one estimates); ratio (iterative / trials). The last rows have the
        medians of the ratios.
    """
    check_positive_integer(rounds=rounds, images=images, epochs=epochs)
    rows = []
    for name in networks:
        model, x, y, accuracy = _trained(name, data_dir, images, epochs)
        for storage in storages:
            fault = BitErrors(storage)
            others, population = _iterative(model, x, y, fault)
            for failure, (count, rate) in others.items():
                question = {"fault": fault, "failure": failure, "margin": MARGIN}
                found = [failure_rate(model, x, y, seed=seed, **question) for seed in range(rounds)]
                found.sort(key=lambda one: one.trials)
                ours = found[rounds // 2]
                row = {"network": name, "storage": storage, "failure": failure}
                row |= {"sites": population, "accuracy": accuracy, "trials": ours.trials}
                row |= {"rate": ours.rate, "low": ours.low, "high": ours.high}
                row |= {"iterative": count, "rate_iterative": rate}
                row |= {"fixed": round(sample_size(population)), "ratio": count / ours.trials}
                rows.append(row)
    return rows + [
        {
            "network": "median",
            "failure": failure,
            "ratio": statistics.median(r["ratio"] for r in rows if r["failure"] == failure),
        }
        for failure in FAILURES
    ]


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
) -> tuple[dict[str, tuple[int, float]], int]:
    """Trials and estimate of the iterative rule for each kind of failure; and how many faults.

    Both kinds are seen in the same trials.
    """
    options = {"target": "weights", "select": None, "failure": "image", "accuracy_loss": 0.0}
    options |= {"predict": False, "batch_size": 1000, "seed": 0}
    options |= {"margin": MARGIN, "confidence": CONFIDENCE}
    shares: list[float] = []
    found: dict[str, tuple[int, float]] = {}
    with prepared(model, x, y, fault=fault, **options) as (sites, sampler):
        ends = np.cumsum([size for *_, size in sites.cells])
        draw = np.random.Generator(np.random.Philox(1))
        while len(found) < len(FAILURES):
            site = int(draw.integers(sampler.members))
            cell = int(np.searchsorted(ends, site, side="right"))
            shares.append(sites.run(cell, site - int(ends[cell - 1] if cell else 0))["outcome"])
            if (len(shares) - _FIRST) % _EVERY:
                continue
            for failure in set(FAILURES) - set(found):
                outcomes = np.array(shares) > 0 if failure == "any_image" else np.array(shares)
                count = iterative_trials(outcomes, sampler.members)
                if count is not None:
                    found[failure] = (count, float(np.mean(outcomes)))
    return {failure: found[failure] for failure in FAILURES}, sampler.members
