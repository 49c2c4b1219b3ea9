"""Checks on a few examples of the first batch, before training.

What a plan cannot read off the layers is found by running the model once:

- a layer that mixes examples: clipping would not bound what one of them does;
- a weight that is read outside its own layer (a tied kernel in an op or a Lambda): that use's
  gradient would be missing;
- a layer whose rows are no examples (a model that folds positions into the batch axis);
- per-example gradients that are not those of plain backpropagation. They are compared where a layer
  is not Keras's own, or a rule not this package's.

The model runs in inference mode in a separate graph: no random number is drawn, no weight moves.
"""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.attacks.precision import low_precision_layers
from ft_tf.errors import ModelError
from ft_tf.training.dpsgd import rules
from ft_tf.training.dpsgd.capture import Call, captured, check_uses, replaced_calls
from ft_tf.training.dpsgd.example_gradients import with_open_batch
from ft_tf.training.dpsgd.example_losses import PerExampleLoss, check_loss_is_per_example
from ft_tf.training.dpsgd.plan import Plan, check_no_added_losses, trainable_variables
from ft_tf.training.dpsgd.rules import Rule
from ft_tf.training.dpsgd.step import clipped_sum

EXAMPLES = 3
_NO_CLIPPING = 1e30
_OUTPUT_TOLERANCE = 1e-4  # rounding differs between batch sizes by 1e-6 of the outputs
_LOW_PRECISION_OUTPUT_TOLERANCE = 1e-2


class Tolerance(NamedTuple):
    """The tolerated difference of two ways to compute one gradient.

    Attributes:
        relative: share of the weight's own gradient.
        overall: share of the whole gradient, where a weight's own is rounding.
    """

    relative: float
    overall: float


_FLOAT32, _BFLOAT16 = Tolerance(1e-2, 1e-3), Tolerance(0.25, 0.05)


def check_examples_are_independent(model: keras.Model, x: Any) -> None:
    """Compares the outputs of a few examples together with those of each alone.

    It finds a Lambda layer that subtracts a mean over the batch, say, but not a layer that mixes
    examples only in training mode.

    Args:
        model: a model with one output.
        x: a nest of arrays or tensors [batch, ...].

    Raises:
        ModelError: the outputs differ.
    """

    def outputs_of(rows: slice) -> np.ndarray:
        part = tf.nest.map_structure(lambda part: tf.convert_to_tensor(part[rows]), x)
        return model(part, training=False).numpy()

    count = min(EXAMPLES, len(tf.nest.flatten(x)[0]))
    together = outputs_of(slice(count))
    alone = np.concatenate([outputs_of(slice(row, row + 1)) for row in range(count)])
    if not (np.isfinite(together).all() and np.isfinite(alone).all()):
        return  # such examples show nothing
    tolerance = (
        _LOW_PRECISION_OUTPUT_TOLERANCE if low_precision_layers(model) else _OUTPUT_TOLERANCE
    )
    if np.abs(together - alone).max() > tolerance * np.abs(alone).max():
        raise ModelError(
            f"model={model.name} gives an example another output when other examples are in the "
            "batch: a layer mixes examples, so clipping would not bound what one of them does"
        )


def check_plan(plan: Plan, loss: PerExampleLoss, x: Any, y: Any) -> None:
    """Tries `plan` on the first EXAMPLES of x and y.

    Args:
        plan: of the model.
        loss: returns one loss per example.
        x: a nest of arrays or tensors [batch, ...].
        y: array or tensor of labels [batch, ...].

    Raises:
        ModelError: training by this plan would be wrong; the message names the layer or weight.
    """
    few_x, few_y = tf.nest.map_structure(lambda part: tf.convert_to_tensor(part[:EXAMPLES]), (x, y))
    _check_reads_and_rows(plan, few_x)
    if not all(map(_is_known, plan.layers, plan.rules)):
        _check_gradients(plan, loss, few_x, few_y)


def check_loss(loss: keras.losses.Loss, model: keras.Model, x: Any, y: Any) -> None:
    """Tries the loss on the first EXAMPLES of x and y: made-up labels do not suit every loss.

    Raises:
        ArgumentError: it mixes examples.
    """
    if len(y) > 1:
        few_x, few_y = tf.nest.map_structure(lambda part: part[:EXAMPLES], (x, y))
        check_loss_is_per_example(loss, few_y, model(few_x, training=False))


def _is_known(layer: keras.layers.Layer, rule: Rule | None) -> bool:
    """Returns True for a layer with a rule of this package, or Keras's own in all its parts."""
    if rule is not None:
        return rule.__module__.startswith(rules.__name__)
    return all(type(part).__module__.startswith("keras.") for part in layer._flatten_layers())


def _check_reads_and_rows(plan: Plan, x: Any) -> None:
    """Rejects weights that are read outside their layers, and rows that are no examples."""
    strays: set[str] = set()
    rows: list[keras.layers.Layer] = []  # the layer of each tensor that `graph` counts

    @tf.function(autograph=False)
    def graph(x: Any) -> list[tf.Tensor]:
        with (
            tf.GradientTape() as tape,
            captured(plan.layers, tape) as uses,
            _noted_reads(plan, tape, strays),
        ):
            plan.model(with_open_batch(x), training=False)
        check_uses(plan.layers, uses)
        check_no_added_losses(plan.model)
        rows[:] = [use.layer for use in uses for _ in use.examples]
        return [tf.shape(part)[0] for use in uses for part in use.examples]

    counts = [int(count) for count in graph(x)]
    if strays:
        raise ModelError(
            f"model={plan.model.name} reads {', '.join(sorted(strays))} outside that layer (a tied "
            "weight): this use would be missing from per-example gradients; use another weight "
            "there"
        )
    expected = len(tf.nest.flatten(x)[0])
    for layer, count in zip(rows, counts, strict=True):
        if count != expected:
            raise ModelError(
                f"layer {layer.name!r} ({type(layer).__name__}) gets {count} rows of a batch of "
                f"{expected} examples: the first axis must be that of the examples"
            )


@contextlib.contextmanager
def _noted_reads(plan: Plan, tape: tf.GradientTape, strays: set[str]) -> Iterator[None]:
    """Adds to `strays` the trained weights that are read while no call of their layer runs."""
    owners = {
        id(weight.handle): (layer, f"{weight.path!r} of layer {layer.name!r}")
        for layer in plan.layers
        for weight in layer.trainable_weights
    }

    def note(read: Iterable[tf.Variable], inside: keras.layers.Layer | None) -> None:
        for variable in read:
            owner, name = owners.get(id(variable.handle), (inside, ""))
            if owner is not inside:
                strays.add(name)

    def noting(layer: keras.layers.Layer, original: Call) -> Call:
        def call(*args: Any, **kwargs: Any) -> Any:
            with tape.stop_recording(), tf.GradientTape() as own:
                outputs = original(*args, **kwargs)
            note(own.watched_variables(), layer)
            return outputs

        return call

    with replaced_calls(plan.layers, noting):
        yield
    note(tape.watched_variables(), None)


def _check_gradients(plan: Plan, loss: PerExampleLoss, x: Any, y: tf.Tensor) -> None:
    """Compares the plan's gradients with those of one plain tape per example."""
    variables = trainable_variables(plan)
    count = len(y)

    @tf.function(autograph=False)
    def graph(x: Any, y: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor, list[list[tf.Tensor]]]:
        with tf.GradientTape(persistent=True) as tape:
            losses = loss(y, plan.model(x, training=False))
            each = [losses[index] for index in range(count)]
        plain = [tape.gradient(one, variables, unconnected_gradients="zero") for one in each]
        ours = clipped_sum(
            plan, loss, x, y, weights=tf.ones(count), l2_norm_clip=_NO_CLIPPING, training=False
        )
        return ours.gradients, ours.norms, tf.nest.map_structure(_as_float32, plain)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training says the same again
        ours, norms, plain = tf.nest.map_structure(lambda part: part.numpy(), graph(x, y))
    tolerance = _BFLOAT16 if low_precision_layers(plan.model) else _FLOAT32
    plain_norms = np.sqrt([sum(np.sum(np.square(part)) for part in parts) for parts in plain])
    if not (np.isfinite(norms).all() and np.isfinite(plain_norms).all()):
        return  # such examples show nothing
    whole = plain_norms.sum()
    for variable, mine, *theirs in zip(variables, ours, *plain, strict=True):
        expected = np.sum(theirs, axis=0)
        error = np.linalg.norm(mine - expected)
        if error > max(tolerance.relative * np.linalg.norm(expected), tolerance.overall * whole):
            raise ModelError(_wrong_gradients(plan, variable))
    if (np.abs(norms - plain_norms) > tolerance.relative * plain_norms).any():
        raise ModelError(
            f"model={plan.model.name} gets other norms of per-example gradients than plain "
            "backpropagation: see to the rules that were registered by register_rule"
        )


def _as_float32(gradient: Any) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(gradient), tf.float32)


def _wrong_gradients(plan: Plan, variable: tf.Variable) -> str:
    layer = next(
        layer
        for layer in plan.layers
        if any(weight is variable for weight in layer.trainable_weights)
    )
    return (
        f"layer {layer.name!r} ({type(layer).__name__}) gets other per-example gradients of "
        f"{variable.path!r} than plain backpropagation: its rule is wrong, or its call uses "
        "a tensor that is no argument (kept in an attribute, say)"
    )
