"""`benchmark protections`: accuracy after training under bit errors and with small weights."""

from typing import Any

from ft_tf import architectures, data, faults, training
from ft_tf._compat import keras
from ft_tf.checks import check_positive_integer

STORAGES, RATE = ("int8_per_channel", "int8"), 0.01
"""The first one is that of the training."""
MAX_WEIGHT = 0.2
TRIALS, IMAGES_PER_TRIAL = 50, 1000
TRAININGS = {
    "plain": (0.0, 0.0),
    "clipped": (0.0, MAX_WEIGHT),
    "bit errors": (RATE, 0.0),
    "bit errors, clipped": (RATE, MAX_WEIGHT),
}
"""Rate of bit errors in training, and largest weight (0: any)."""


def run(
    *,
    architecture: str = "fmnist_dnn",
    batch_size: int = 250,
    data_dir: str | None = None,
    rounds: int = 3,
    epochs: int = 8,
) -> list[dict[str, Any]]:
    """Trains Fashion-MNIST four ways with Adam and measures each under the same bit errors.

    Args:
        architecture: one for Fashion-MNIST.
        batch_size: of the training.
        data_dir: TFDS directory; else the embedded sample.
        rounds: seeds.
        epochs: epochs of training.

    Returns:
        A row per seed, training and storage format: architecture, data, seed, training, storage,
        clean_accuracy (as stored), accuracy at 1% of the bits inverted (50 trials of 1,000
        images), low, high, gained (over the plain training with the same seed and faults).
    """
    check_positive_integer(batch_size=batch_size, rounds=rounds, epochs=epochs)
    fashion = data.load("fashion_mnist", data_dir=data_dir)
    rows: list[dict[str, Any]] = []
    for seed in range(rounds):
        for name, (rate, limit) in TRAININGS.items():
            model = trained(
                fashion, architecture, seed, rate, limit, batch_size=batch_size, epochs=epochs
            )
            for storage in STORAGES:
                row = {"architecture": architecture, "data": fashion.source, "seed": seed}
                row |= {"training": name, "storage": storage, **measured(model, fashion, storage)}
                plain = [r for r in rows if r["seed"] == seed and r["storage"] == storage]
                row["gained"] = row["accuracy"] - plain[0]["accuracy"] if plain else 0.0
                rows.append(row)
    return rows


def trained(
    fashion: data.Dataset,
    architecture: str,
    seed: int,
    rate: float,
    limit: float,
    *,
    batch_size: int,
    epochs: int,
) -> keras.Model:
    """Trains a model under bit errors at a rate, with weights up to a limit (0: none of either)."""
    model = architectures.build(architecture, seed=seed)
    if rate:
        fault = faults.BitErrors(STORAGES[0])
        model = faults.wrap(model, target="weights", rate=rate, fault=fault, seed=seed)
    if limit:
        faults.limit_weights(model, limit)
    trainer = training.NaturalModel(model, seed=seed)
    trainer.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trainer.fit(fashion.x_train, fashion.y_train, batch_size=batch_size, epochs=epochs, verbose=0)
    return faults.unwrap(model)


def measured(model: keras.Model, fashion: data.Dataset, storage: str) -> dict[str, float]:
    """Returns the accuracy as stored, and under bit errors with its interval over fault sets."""
    frame = faults.sweep(
        model, fashion.x_test, fashion.y_test, target="weights", rates=[RATE], trials=TRIALS,
        seed=0, fault=faults.BitErrors(storage),
        images_per_trial=min(IMAGES_PER_TRIAL, len(fashion.x_test)),
    )  # fmt: skip
    found = faults.summarize(frame).iloc[0]
    clean = {"clean_accuracy": frame.attrs["clean_accuracy"]}
    return clean | {key: float(found[key]) for key in ("accuracy", "low", "high")}
