"""The model in question, and trials of faults in it that end at a deadline."""

import collections
import dataclasses
import gc
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ft_tf import faults
from ft_tf._compat import keras
from ft_tf.assessment.card import Settings
from ft_tf.assessment.clock import Clock
from ft_tf.errors import FtTfError
from ft_tf.faults.campaign import Campaign
from ft_tf.models import TFLiteModel

Rows = list[dict[str, Any]]
_CACHE = 256 << 20


class NotPossible(FtTfError):
    """Why something cannot be measured."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """The model, and the test images that faults and attacks are tried on.

    Attributes:
        model: the classifier; it gives logits if attacks are to be run on it.
        x: inputs in random order, a structure of arrays.
        y: labels.
        classes: number of classes.
        accuracy: without faults, on all test images.
        seconds_per_image: of a forward pass.
        storage: format of the stored weights.
        settings: seed, images, radius, ...
        clock: for deadlines.
    """

    model: keras.Model | TFLiteModel
    x: Any
    y: np.ndarray
    classes: int
    accuracy: float
    seconds_per_image: float
    storage: str
    settings: Settings
    clock: Clock

    @property
    def words(self) -> str:
        """Format in which all bits may be wrong: a .tflite file has one for each tensor."""
        return self.storage if isinstance(self.model, keras.Model) else "as_stored"

    @property
    def images_per_trial(self) -> int:
        """Images of each trial."""
        return min(self.settings.images_per_trial, len(self.y))


class Trials:
    """The trials of one campaign: rows of `faults.sweep`, from a program that is compiled once.

    Args:
        subject: the model and the images.
        target: "weights" or "units".
        model: in place of the subject's.
        **plan: further arguments of `faults.make_plan`.
    """

    def __init__(
        self, subject: Subject, target: str, model: keras.Model | None = None, **plan: Any
    ) -> None:
        self._subject, self._target, self._model = subject, target, model or subject.model
        self._plan = faults.make_plan(self._model, target=target, **plan)
        self._campaign: Campaign | None = None

    def release(self) -> None:
        """Frees the compiled program, a cycle that holds its images."""
        self._campaign = None
        gc.collect()

    @property
    def sites(self) -> int:
        """Places where a fault may be."""
        return self._plan.sites

    def until(
        self,
        deadline: float,
        trials: Iterable[int],
        rates: Sequence[float],
        fatal: float | None = None,
    ) -> Rows:
        """Returns the rows of those trials that end before the deadline.

        With `fatal`, rates ten times above one at which a trial lost so much are left out.
        """
        subject, rows, highest = self._subject, [], 1.0
        if self._campaign is None:
            self._campaign = Campaign(
                self._model, self._plan, subject.x, subject.y, cache_bytes=_CACHE
            )
        with self._campaign.armed():
            for row in self._campaign.rows(
                target=self._target,
                seed=subject.settings.seed,
                trials=trials,
                rates=sorted(rates),
                images_per_trial=subject.images_per_trial,
                wants=lambda rate: rate <= highest,  # noqa: B023
            ):
                rows.append(row)
                if fatal is not None and row["accuracy_lost"] > fatal:
                    highest = min(highest, 10.1 * row["rate"])
                if subject.clock.tick() > deadline:
                    break
        finished = collections.Counter(row["trial"] for row in rows)
        return [row for row in rows if fatal or finished[row["trial"]] == len(rates)]
