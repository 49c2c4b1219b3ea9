"""`benchmark campaigns`: trials to a failure rate of +-1 point, for ours and for published rules."""

import statistics
from typing import Any

import numpy as np
from scipy import stats

from ft_tf import architectures, data, intervals
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
    """n = N / (1 + e^2 (N - 1) / (z^2 p (1 - p))), of a finite population; 0 at p = 0 or 1.

    Leveugle, Calvez, Maistri and Vanhauwaert 2009, "Statistical fault injection".

    >>> round(sample_size(10**9))
    9604
    """
    variance = stats.norm.ppf((1 + CONFIDENCE) / 2) ** 2 * rate * (1 - rate)
    return population * variance / (variance + MARGIN**2 * (population - 1))


def iterative_trials(outcomes: np.ndarray, population: int) -> int | None:
    """Trials of the iterative rule: until there are as many as p, estimated so far, asks for.

    It takes the normal interval at a number of trials that depends on what they showed, and stops
    at once where none has failed yet. None if the outcomes do not suffice.
    """
    means = np.cumsum(outcomes) / np.arange(1, len(outcomes) + 1)
    for count in range(_FIRST, len(outcomes) + 1, _EVERY):
        if count >= sample_size(population, float(means[count - 1])):
            return count
    return None


def betting_trials(outcomes: np.ndarray) -> int | None:
    """Trials until our interval of a random sample is short enough; None if they do not suffice."""
    betting = intervals.BettingInterval(level=CONFIDENCE, half_width=MARGIN)
    for count, outcome in enumerate(outcomes, 1):
        betting.add(float(outcome))
        if betting.settled:
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

    Faults are single bit flips of the weights. Plain sampling draws them uniformly, one sequence of
    trials for all its rules; it needs `sample_size` with p = 1/2 where nothing is known before.

    Args:
        rounds: campaigns of ours for each row, with a seed each; the row has their median.
        networks: some of `architectures.NAMES` with image input.
        storages: storage formats.
        data_dir: TFDS directory with fashion_mnist; the embedded sample by default.
        images: test images of a trial.
        epochs: of training.

    Returns:
        A row for each network, format and kind of failure (see `single_faults.FAILURES`): network,
        storage, failure, sites, accuracy, rate, low, high (of the campaign with the median number
        of trials), trials, iterative, fixed, plain_betting (trials of the other rules, None if not
        within those of `fixed`), rate_plain (over all plain trials), ratio (iterative / trials). The
        last two rows have the medians of the ratios for each kind of failure.
    """
    check_positive_integer(rounds=rounds, images=images, epochs=epochs)
    rows = []
    for name in networks:
        model, x, y, accuracy = _trained(name, data_dir, images, epochs)
        for storage in storages:
            plain, population = _uniform(model, x, y, BitErrors(storage))
            for failure in FAILURES:
                outcomes = (plain > 0).astype(float) if failure == "any_image" else plain
                found = sorted(
                    (
                        failure_rate(
                            model, x, y, fault=BitErrors(storage), failure=failure, seed=seed,
                            margin=MARGIN, confidence=CONFIDENCE,
                        )
                        for seed in range(rounds)
                    ),
                    key=lambda one: one.trials,
                )[rounds // 2]  # fmt: skip
                row = {"network": name, "storage": storage, "failure": failure}
                row |= {"sites": population, "accuracy": accuracy}
                row |= {"rate": found.rate, "low": found.low, "high": found.high}
                iterative = iterative_trials(outcomes, population)
                row |= {"trials": found.trials, "iterative": iterative, "fixed": len(plain)}
                row |= {"plain_betting": betting_trials(outcomes), "rate_plain": outcomes.mean()}
                rows.append({**row, "ratio": (iterative or len(plain)) / found.trials})
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


def _uniform(
    model: keras.Model, x: np.ndarray, y: np.ndarray, fault: BitErrors
) -> tuple[np.ndarray, int]:
    """Shares of predictions changed by faults drawn uniformly, and how many faults there are."""
    options = {"target": "weights", "select": None, "failure": "image", "accuracy_loss": 0.0}
    options |= {"predict": False, "batch_size": 1000, "seed": 0}
    with prepared(model, x, y, fault=fault, margin=MARGIN, confidence=CONFIDENCE, **options) as (
        sites,
        sampler,
    ):
        population = sampler.members
        ends = np.cumsum([size for *_, size in sites.cells])
        draw = np.random.Generator(np.random.Philox(1))
        outcomes = []
        for site in draw.integers(population, size=round(sample_size(population))):
            cell = int(np.searchsorted(ends, site, side="right"))
            number = int(site - (ends[cell - 1] if cell else 0))
            outcomes.append(sites.run(cell, number)["outcome"])
    return np.array(outcomes), population
