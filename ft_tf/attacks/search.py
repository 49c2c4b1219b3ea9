"""Drives the ascents over a data set: compiled once per model, batch by batch, survivors only."""

import contextlib
import dataclasses
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from ft_tf._compat import keras, tf
from ft_tf.attacks import losses
from ft_tf.attacks.geometry import DISTANCES, Ball
from ft_tf.attacks.input_gradients import inference_pass
from ft_tf.attacks.kl import class_logits, kl_divergence
from ft_tf.attacks.loops import Ascent, Worst, apgd_windows, auto_pgd, projected_gradient
from ft_tf.attacks.noise import random_perturbations
from ft_tf.attacks.validation import (
    check_bounds,
    check_images,
    check_labels,
    check_logits,
    check_logits_model,
    check_one_input,
)
from ft_tf.checks import (
    check_choice,
    check_non_negative_integer,
    check_positive_integer,
    check_radius,
)
from ft_tf.metrics import predict_logits, predicted_labels
from ft_tf.models import check_input_shape
from ft_tf.models.usage import version_of

LEG = 10
"""PGD steps between two looks at which examples still stand, where it may stop early."""


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A model, data and a ball, checked.

    Attributes:
        model: the classifier that is attacked.
        x: float32 inputs inside the bounds.
        y: int64 labels [n].
        clean_logits: float32 logits of x with a column per class.
        epsilon: radius of the ball.
        distance: "l_inf" or "l_2".
        bounds: lowest and highest input.
        seed: of all random starts.
        batch_size: examples attacked at a time.
    """

    model: keras.Model
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    clean_logits: npt.NDArray[np.float32]
    epsilon: float
    distance: str
    bounds: tuple[float, float]
    seed: int
    batch_size: int

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.clean_logits.shape[1]

    @property
    def misclassified(self) -> npt.NDArray[np.bool_]:
        """Examples that are wrong without any attack."""
        return predicted_labels(self.clean_logits) != self.y

    @property
    def other_classes(self) -> npt.NDArray[np.int64]:
        """All classes but the label, by falling clean logit, int64 [n, classes - 1]."""
        order = np.argsort(-self.clean_logits, axis=1, kind="stable")
        return order[order != self.y[:, None]].reshape(len(order), -1)

    def random_points(
        self, batch: npt.NDArray[np.int64], epsilon: float, stream: tuple[int, ...]
    ) -> npt.NDArray[np.float32]:
        """For the examples of `batch`, points within `epsilon` and the bounds.

        `stream` tells these points from others under the same seed.
        """
        x = self.x[batch]
        options = {"distance": self.distance, "stream": (self.seed, *stream)}
        noise = random_perturbations(batch, x.shape[1:], epsilon=epsilon, **options)
        return np.clip(x + noise, *map(np.float32, self.bounds))


def checked_problem(
    model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    epsilon: float,
    distance: str = "l_inf",
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    batch_size: int = 500,
) -> Problem:
    """Checks every input of an attack and computes the clean logits.

    Raises:
        ArgumentError: inputs outside the bounds, labels out of range, epsilon < 0 and the like.
        ModelError: the model does not give logits, or gives some that are not finite.
    """
    check_choice(DISTANCES, distance=distance)
    check_non_negative_integer(seed=seed)
    check_positive_integer(batch_size=batch_size)
    bounds = check_bounds(bounds)
    check_radius(distance=distance, bounds=bounds, epsilon=epsilon)
    check_one_input(model)
    x = check_images(x, bounds)
    check_input_shape(model, x)
    classes = check_logits_model(model, x[:1])
    y = check_labels(y, classes=classes, examples=len(x))
    logits = predict_logits(model, x, batch_size=batch_size)
    check_logits(logits, name=model.name)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    return Problem(model, x, y, logits, float(epsilon), distance, bounds, int(seed), batch_size)


@dataclasses.dataclass(frozen=True, eq=False)
class Attempt:
    """One ascent from one start for each example.

    Attributes:
        method: "pgd" or "apgd".
        loss: name of the loss, a key of LOSSES.
        num_steps: gradient steps.
        step_size: length of a step; apgd sets its own.
        stream: tells this attempt's random start from others' under the same seed; None for a
            start at x itself.
        targets: for the targeted loss, the class that each example is driven to, int64 [n].
        early_stop: pgd leaves an example alone once it is broken, looking every LEG steps.
        draws: passes per point whose loss and probabilities are averaged, for a randomised model
            (expectation over transformations, Athalye et al. 2018).
    """

    method: str
    loss: str
    num_steps: int
    step_size: float = 0.0
    stream: tuple[int, ...] | None = None
    targets: npt.NDArray[np.int64] | None = None
    early_stop: bool = False
    draws: int = 1

    def legs(self) -> list[int]:
        """Steps between looks at who is broken: all at once, or ten at a time."""
        if self.method == "apgd" or not self.early_stop:
            return [self.num_steps]
        full, rest = divmod(self.num_steps, LEG)
        return [LEG] * full + [rest] * (rest > 0)


class WorstCase:
    """For each example of a problem the worst point found so far, over all attempts.

    Attributes:
        point: float32 [n, ...]; x itself for an example that was not attacked.
        broken: bool [n]: misclassified, with or without an attack.
        loss: float32 [n]: the loss at `point`, -inf where not attacked; comparable only between
            attempts on the same loss.
        stuck: bool [n]: an attempt's first gradient was exactly zero.
        attacked: bool [n].
    """

    def __init__(self, problem: Problem) -> None:
        examples = len(problem.x)
        self.point = problem.x.copy()
        self.broken = problem.misclassified
        self.loss = np.full(examples, -np.inf, np.float32)
        self.stuck = np.zeros(examples, bool)
        self.attacked = np.zeros(examples, bool)
        self._loss_name: str | None = None

    def batches(self, size: int) -> Iterator[npt.NDArray[np.int64]]:
        """Gives the examples that are not broken at the beginning, `size` at a time."""
        survivors = np.flatnonzero(~self.broken)
        for row in range(0, len(survivors), size):
            yield survivors[row : row + size]

    def attack(self, problem: Problem, attempt: Attempt) -> None:
        """Makes one attempt at every example that is not broken yet, and keeps what is worse."""
        comparable = self._loss_name in (None, attempt.loss)
        self._loss_name = self._loss_name or attempt.loss
        last = problem.x
        for number, num_steps in enumerate(attempt.legs()):
            start, last = last, np.empty_like(problem.x)
            for batch in self.batches(problem.batch_size):
                if number or attempt.stream is None:
                    first = start[batch]
                else:
                    first = problem.random_points(batch, problem.epsilon, attempt.stream)
                found = _ascend(problem, attempt, batch, first, num_steps)
                self._keep(batch, found.worst, comparable=comparable)
                last[batch] = found.last.numpy()
                if not number:
                    self.stuck[batch] |= found.stuck.numpy()
                    self.attacked[batch] = True

    def record(
        self,
        batch: npt.NDArray[np.int64],
        point: npt.NDArray[np.float32],
        broken: npt.NDArray[np.bool_],
    ) -> None:
        """Keeps the points that break an example of `batch`, of an attack without a shared loss."""
        self.point[batch[broken]] = point[broken]
        self.broken[batch[broken]] = True
        self.attacked[batch] = True

    def _keep(self, batch: npt.NDArray[np.int64], worst: Worst, *, comparable: bool) -> None:
        loss, broken = worst.loss.numpy(), worst.broken.numpy()
        before = self.loss[batch]
        is_higher = (loss > before) | (np.isnan(loss) & ~np.isnan(before))
        kept = broken | (comparable & is_higher)
        self.point[batch[kept]] = worst.point.numpy()[kept]
        self.loss[batch[kept]] = loss[kept]
        self.broken[batch] = broken


def _ascend(
    problem: Problem,
    attempt: Attempt,
    batch: npt.NDArray[np.int64],
    start: npt.NDArray[np.float32],
    num_steps: int,
) -> Ascent:
    targets = problem.y if attempt.targets is None else attempt.targets
    is_apgd = attempt.method == "apgd"
    schedule = apgd_windows(num_steps) if is_apgd else np.zeros(num_steps, np.int32)
    options = (attempt.method, attempt.loss, attempt.draws)
    return compiled(problem, options, lambda model: _build_ascent(model, problem, *options))(
        problem.x[batch],
        start,
        problem.y[batch],
        targets[batch],
        problem.clean_logits[batch],
        np.float32(problem.epsilon),
        np.float32(attempt.step_size),
        np.float32(problem.bounds),
        schedule,
    )


LOSSES: dict[str, Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "cross_entropy": lambda logits, y, targets, natural: losses.cross_entropy(logits, y),
    "kl": lambda logits, y, targets, natural: kl_divergence(natural, logits),
    "margin": lambda logits, y, targets, natural: losses.margin(logits, y),
    "dlr": lambda logits, y, targets, natural: losses.dlr(logits, y),
    "targeted_dlr": lambda logits, y, targets, natural: losses.targeted_dlr(logits, y, targets),
}
"""From (logits, labels, targets, clean logits) to the loss of each example."""

_ascents: "weakref.WeakKeyDictionary[keras.Model, dict[tuple, Callable]]" = (
    weakref.WeakKeyDictionary()
)


@contextlib.contextmanager
def without_compiled_ascents(model: keras.Model) -> Iterator[None]:
    """Within the block attacks on `model` are traced anew, and what was traced is forgotten."""
    before = _ascents.pop(model, None)
    try:
        yield
    finally:
        _ascents.pop(model, None)
        if before is not None:
            _ascents[model] = before


def compiled(
    problem: Problem, key: tuple, build: Callable[[Callable[[], keras.Model]], Callable]
) -> Callable:
    """A graph that is kept with the model: built once per key, norm and shape of an example.

    Batch size, radius, step size and number of steps are arguments of such graphs: changing them
    traces nothing again, nor does a smaller last batch. As with Keras' own evaluate, new weights
    are seen and new Python code in a layer's call is not.
    """
    key = (*key, problem.distance, problem.x.shape[1:], problem.classes)
    cache = _ascents.setdefault(problem.model, {}).setdefault(version_of(problem.model), {})
    if key not in cache:
        cache[key] = build(weakref.ref(problem.model))  # the cache must not keep its own key alive
    return cache[key]


def _build_ascent(
    model: Callable[[], keras.Model], problem: Problem, method: str, loss: str, draws: int
) -> Callable:
    images = tf.TensorSpec([None, *problem.x.shape[1:]], tf.float32)
    labels = tf.TensorSpec([None], tf.int64)
    number = tf.TensorSpec([], tf.float32)
    distance = problem.distance  # the graph must not keep the problem, and with it the model

    @tf.function(
        input_signature=[
            images, images, labels, labels, tf.TensorSpec([None, problem.classes], tf.float32),
            number, number, tf.TensorSpec([2], tf.float32), tf.TensorSpec([None], tf.int32),
        ]
    )  # fmt: skip
    def ascent(*arrays: tf.Tensor) -> Ascent:
        x, start, y, targets, clean_logits, epsilon, step_size, bounds, schedule = arrays
        predict = inference_pass(model())

        def one_pass(point: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = class_logits(tf.cast(predict(point), tf.float32))
            scores = logits if draws == 1 else tf.nn.softmax(logits)
            return LOSSES[loss](logits, y, targets, clean_logits), scores

        def objective(point: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if draws == 1:
                value, scores = one_pass(point)
            else:
                several = tf.map_fn(
                    lambda _: one_pass(point),
                    tf.range(draws),
                    fn_output_signature=(tf.float32, tf.float32),
                )
                value, scores = (tf.reduce_mean(part, axis=0) for part in several)
            return value, losses.is_wrong(scores, y)

        ball = Ball.around(x, epsilon, tf.unstack(bounds), distance)
        if method == "apgd":
            return auto_pgd(objective, ball, start, windows=schedule)
        return projected_gradient(
            objective, ball, start, step_size=step_size, num_steps=tf.shape(schedule)[0]
        )

    return ascent
