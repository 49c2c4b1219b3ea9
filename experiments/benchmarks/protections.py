"""`benchmark protections`: accuracy after training under bit errors and with small weights."""

from typing import Any

from ft_tf import architectures, data, faults, training
from ft_tf._compat import keras
from ft_tf.checks import check_positive_integer

STORAGE, RATE = "int8_per_channel", 0.01
MAX_WEIGHT = 0.1
TRIALS, IMAGES_PER_TRIAL = 50, 1000
_FAULT = faults.BitErrors(STORAGE)
_TRAININGS = {
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
    epochs: int = 5,
) -> list[dict[str, Any]]:
    """Trains Fashion-MNIST four ways with Adam and measures each under the same bit errors.

    Args:
        architecture: one for Fashion-MNIST.
        batch_size: of the training.
        data_dir: TFDS directory; else the embedded sample.
        rounds: seeds.
        epochs: epochs of training.

    Returns:
        A row per seed and training: architecture, data, seed, training, clean_accuracy (as
        stored), accuracy at 1% of the bits inverted (50 trials of 1,000 images), low, high, gained
        (over the plain training with the same seed and faults).
    """
    check_positive_integer(batch_size=batch_size, rounds=rounds, epochs=epochs)
    fashion = data.load("fashion_mnist", data_dir=data_dir)
    rows = []
    for seed in range(rounds):
        plain = None
        for name, (rate, limit) in _TRAININGS.items():
            model = architectures.build(architecture, seed=seed)
            if rate:
                model = faults.wrap(model, target="weights", rate=rate, fault=_FAULT, seed=seed)
            if limit:
                faults.limit_weights(model, limit)
            trainer = training.NaturalModel(model, seed=seed)
            trainer.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            trainer.fit(
                fashion.x_train, fashion.y_train, batch_size=batch_size, epochs=epochs, verbose=0
            )
            frame = faults.sweep(
                faults.unwrap(model), fashion.x_test, fashion.y_test, target="weights",
                rates=[0, RATE], trials=TRIALS, seed=0, fault=_FAULT,
                images_per_trial=min(IMAGES_PER_TRIAL, len(fashion.x_test)),
            )  # fmt: skip
            summary = faults.summarize(frame).iloc[1]
            plain = summary["accuracy"] if plain is None else plain
            rows.append(
                {
                    "architecture": architecture,
                    "data": fashion.source,
                    "seed": seed,
                    "training": name,
                    "clean_accuracy": frame.attrs["clean_accuracy"],
                    **{key: float(summary[key]) for key in ("accuracy", "low", "high")},
                    "gained": float(summary["accuracy"] - plain),
                }
            )
    return rows
