"""The most robust checkpoint of a TRADES training, next to the last one.

Robust accuracy peaks before the last epoch where a model overfits robustly. The epoch is chosen on
test images that the reported figures leave out, and is reported on those that they use.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from ft_tf import attacks, metrics, records
from ft_tf._compat import keras
from ft_tf.data import Dataset
from ft_tf.errors import ModelError
from ft_tf.study.config import RunConfig
from ft_tf.training.callbacks import Classifier
from ft_tf.untrusted import read_npz

SELECTION_IMAGES = 500
SELECTION_STEPS = 10
_WEIGHTS = "best_weights.npz"
_CHOICE = "best_checkpoint.json"


def applies_to(config: RunConfig, data: Dataset) -> bool:
    """Whether a run keeps its best checkpoint: a defence, a curve, and images to choose on."""
    return _is_wanted(config) and obstacle(config, data) is None


def obstacle(config: RunConfig, data: Dataset) -> str | None:
    """Why a defended run with a curve cannot keep its best checkpoint; None if it can.

    `data` are those of the run, its limits applied.
    """
    attacked, there = config.evaluation.attack_images, len(data.x_test)
    if not _is_wanted(config) or there >= attacked + SELECTION_IMAGES:
        return None
    return (
        f"no best checkpoint is kept: it is chosen on {SELECTION_IMAGES} test images beside "
        f"attack_images={attacked}, and there are {there}"
    )


def _is_wanted(config: RunConfig) -> bool:
    return config.algorithm.attack_radius is not None and config.evaluation.curve


class BestCheckpoint(keras.callbacks.Callback):
    """After each epoch measures robust accuracy (PGD-10) and keeps the weights of the best.

    Adds robust_accuracy to the epoch's logs. `classifier` returns the model to evaluate, with its
    current weights.
    """

    def __init__(
        self, config: RunConfig, data: Dataset, directory: Path, *, classifier: Classifier
    ) -> None:
        super().__init__()
        self._classifier = classifier
        first = config.evaluation.attack_images
        chosen = slice(first, first + SELECTION_IMAGES)
        self._chosen = [part[chosen] for part in data.test]
        self._config = config
        self._directory = directory

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures; a tie goes to the earlier epoch."""
        classifier = self._classifier()
        try:
            measured = _robust_accuracy(self._config, classifier, *self._chosen, SELECTION_STEPS)
        except ModelError:  # the training has diverged: its record will say so
            measured = math.nan
        if logs is not None:
            logs["robust_accuracy"] = measured
        if math.isnan(measured):
            return
        choice = self._directory / _CHOICE
        before = records.read_json(choice) if choice.exists() else None
        # A row at or after this epoch stems from a lost process: this epoch decides anew.
        if before and before["epoch"] <= epoch and before["selection"] >= measured:
            return
        np.savez(self._directory / _WEIGHTS, *classifier.get_weights())
        records.write_text(choice, records.dumps({"epoch": epoch + 1, "selection": measured}))


def _robust_accuracy(
    config: RunConfig, model: keras.Model, x: np.ndarray, y: np.ndarray, steps: int
) -> float:
    epsilon, seed = config.evaluation.attack_epsilon, config.seed
    result = attacks.pgd(model, x, y, epsilon=epsilon, num_steps=steps, early_stop=True, seed=seed)
    return result.robust_accuracy


def measure(
    config: RunConfig, data: Dataset, model: keras.Model, directory: Path
) -> records.BestCheckpoint | None:
    """Test and robust accuracy of the best checkpoint, on the images of the run's own attack.

    Returns the record's "best_checkpoint", None where the run keeps none. `model` is any model of
    the run's shape; its weights are restored.
    """
    if not applies_to(config, data):
        return None
    measured = config.evaluation
    attacked = [part[: measured.attack_images] for part in data.test]
    last = model.get_weights()
    try:
        model.set_weights(list(read_npz(directory / _WEIGHTS).values()))
        robust = _robust_accuracy(config, model, *attacked, measured.attack_steps)
        test = metrics.accuracy(model, *data.test, batch_size=measured.batch_size)
    finally:
        model.set_weights(last)
    return records.BestCheckpoint(
        epoch=records.read_json(directory / _CHOICE)["epoch"],
        test_accuracy=test,
        robust_accuracy=robust,
        attack_steps=measured.attack_steps,
        selected_on=f"PGD-{SELECTION_STEPS} on {SELECTION_IMAGES} other test images",
    )
