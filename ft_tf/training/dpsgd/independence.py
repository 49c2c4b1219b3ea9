"""The loss of each example, and checks of a plan on a few examples before training.

What a plan cannot read off the layers is found by running the model once on a few examples of the
first batch:

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
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.attacks.precision import low_precision_layers
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.keras_layers import Call, all_layers, is_of_keras, replaced_calls
from ft_tf.training.compiled_loss import losses_of
from ft_tf.training.dpsgd import rules
from ft_tf.training.dpsgd.example_gradients import (
    PerExampleLoss,
    captured,
    check_uses,
    with_open_batch,
)
from ft_tf.training.dpsgd.plan import Plan, check_no_added_losses, described, trainable_variables
from ft_tf.training.dpsgd.step import clipped_sum

_MADE_UP_EXAMPLES = 5
_OPEN_AXIS = 3
_NO_CLIPPING = 1e30


def per_example_loss(loss: keras.losses.Loss) -> PerExampleLoss:
    """Returns `loss` without its reduction: float32 [batch].

    Labels and outputs of different ranks are matched as Keras's `compile` does. Losses of several
    positions or outputs of one example are averaged, without positions that the model marks as
    padding (a Keras mask). That is Keras's loss of a batch of one.

    For each new shape of labels and outputs the loss is first tried on made-up numbers, to check
    that it does not mix examples: `check_loss_is_per_example` does so on given ones.

    Raises:
        ArgumentError: when called: the loss mixes examples or gives other than [batch, ...].
    """
    tried = set()

    def losses(y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        if not (tf.is_tensor(y) and tf.is_tensor(outputs)):
            raise ArgumentError("DP-SGD needs a model with one output, and y as one array")
        kind = tuple((str(part.shape[1:]), part.dtype) for part in (y, outputs))
        if kind not in tried:
            _try_on_made_up_numbers(loss, y, outputs)
            tried.add(kind)
        return _per_example(loss, y, outputs)

    return losses


def check_loss_is_per_example(loss: keras.losses.Loss, y: Any, outputs: Any) -> None:
    """Checks that no example's loss depends on another example: on its label, its outputs, or it.

    The losses of some examples are compared with those that the same ones have when the first
    example is left out.

    Args:
        loss: from `resolve_loss`.
        y: labels of a few examples [n, ...], n >= 2.
        outputs: the model's outputs on them [n, ...].

    Raises:
        ArgumentError: the losses differ.
    """
    y, outputs = tf.convert_to_tensor(y), tf.convert_to_tensor(outputs)
    # Both are slices: these lose the attributes that Keras adds, mask and logits of a softmax.
    together = _per_example(loss, y, outputs[0:]).numpy()[1:]
    without = _per_example(loss, y[1:], outputs[1:]).numpy()
    finite = together[np.isfinite(together)]
    slack = 1e-5 * np.abs(finite).max(initial=1e-30)  # rounding
    if not np.allclose(together, without, rtol=1e-5, atol=slack, equal_nan=True):
        raise ArgumentError(
            f"loss={loss.name} mixes examples (y of shape {_shape(y)}, outputs {_shape(outputs)}): "
            "leaving one out changes the losses of the others, so clipping would not bound what "
            "it does"
        )


def _per_example(loss: keras.losses.Loss, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    mask = getattr(outputs, "_keras_mask", None)
    values = losses_of(loss, y, outputs)
    rank = values.shape.rank
    if not rank:
        raise ArgumentError(
            f"loss={loss.name} gives one number for the whole batch: DP-SGD needs one loss "
            "per example, so it must not reduce over the batch axis"
        )
    if not values.shape[:1].is_compatible_with(outputs.shape[:1]):
        raise ArgumentError(
            f"loss={loss.name} gives losses of shape {_shape(values)}: DP-SGD needs one or more "
            "for each example, [batch, ...]"
        )
    axes = list(range(1, rank))
    if mask is None:
        return tf.reduce_mean(values, axis=axes)
    if mask.shape.rank > rank:
        raise ArgumentError(
            f"loss={loss.name} gives one loss for outputs of shape {_shape(outputs)} that have "
            "a mask: masked outputs need a loss per step, [batch, steps]"
        )
    open_mask = tf.reshape(mask, tf.concat([tf.shape(mask), [1] * (rank - mask.shape.rank)], 0))
    counts = tf.cast(tf.broadcast_to(open_mask, tf.shape(values)), tf.float32)
    # Not a product: the loss of padding may be infinite.
    valid = tf.where(counts > 0, values, 0.0)
    return tf.math.divide_no_nan(tf.reduce_sum(valid, axis=axes), tf.reduce_sum(counts, axis=axes))


def _try_on_made_up_numbers(loss: keras.losses.Loss, y: tf.Tensor, outputs: tf.Tensor) -> None:
    """Checks a loss for labels and outputs of these shapes, if it takes such numbers.

    Labels are 0 and 1, both classes and values; outputs lie between, both logits and
    probabilities.
    """
    if y.shape.rank is None or outputs.shape.rank is None or y.dtype == tf.string:
        return
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, _made_up_shape(y))
    labels[0] = 1 - labels[1]  # the one that is left out must differ
    numbers = rng.uniform(0.05, 0.95, _made_up_shape(outputs))
    with tf.init_scope():  # now, and not when the step runs
        made_up = tf.cast(labels, y.dtype), tf.cast(numbers, outputs.dtype)
        try:
            check_loss_is_per_example(loss, *made_up)
        except ArgumentError:
            raise
        except Exception:
            return  # the call on the real labels raises if the loss itself is wrong


def _made_up_shape(part: tf.Tensor) -> list[int]:
    return [_MADE_UP_EXAMPLES, *(_OPEN_AXIS if size is None else size for size in part.shape[1:])]


def _shape(part: tf.Tensor) -> str:
    return "[" + ", ".join(["batch", *(str(size) for size in part.shape[1:])]) + "]"


def check_plan(plan: Plan, loss: PerExampleLoss, x: Any, y: Any) -> None:
    """Tries `plan` on a few examples.

    Args:
        plan: of the model.
        loss: returns one loss per example.
        x: a nest of tensors [batch, ...].
        y: tensor of labels [batch, ...].

    Raises:
        ModelError: training by this plan would be wrong; the message names the layer or weight.
    """
    _check_reads_and_rows(plan, x)
    if not all(map(_is_known, plan.layers, plan.rules)):
        _check_gradients(plan, loss, x, y)


def check_loss(loss: keras.losses.Loss, model: keras.Model, x: Any, y: Any) -> None:
    """Tries the loss on a few examples: made-up labels do not suit every loss.

    Raises:
        ArgumentError: it mixes examples.
    """
    if len(y) > 1:
        check_loss_is_per_example(loss, y, model(x, training=False))


def _is_known(layer: keras.layers.Layer, rule: rules.Rule | None) -> bool:
    """Returns True for a layer with a rule of this package, or Keras's own in all its parts."""
    if rule is not None:
        return rule.__module__.startswith(rules.__name__)
    return all(map(is_of_keras, all_layers(layer)))


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
                f"{described(layer)} gets {count} rows of a batch of {expected} examples: the "
                "first axis must be that of the examples"
            )


@contextlib.contextmanager
def _noted_reads(plan: Plan, tape: tf.GradientTape, strays: set[str]) -> Iterator[None]:
    """Adds to `strays` the trained weights that are read while no call of their layer runs."""
    owners = {
        id(_handle(weight)): (layer, f"{weight.path!r} of layer {layer.name!r}")
        for layer in plan.layers
        for weight in layer.trainable_weights
    }

    def note(read: Iterable[tf.Variable], inside: keras.layers.Layer | None) -> None:
        for variable in read:
            owner, name = owners.get(id(_handle(variable)), (inside, ""))
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


def _handle(variable: keras.Variable | tf.Variable) -> Any:
    """Returns the handle of a variable; of one with a copy on each replica, that of the first."""
    value = variable.value if isinstance(variable, keras.Variable) else variable
    return getattr(value, "values", [value])[0].handle


# Tolerated differences of two ways to compute a gradient: as a share of the weight's own gradient,
# and of the whole one, where a weight's own is rounding.
_FLOAT32, _BFLOAT16 = (1e-2, 1e-3), (0.25, 0.05)


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
        as_float32 = tf.nest.map_structure(
            lambda part: tf.cast(tf.convert_to_tensor(part), tf.float32), plain
        )
        return ours.gradients, ours.norms, as_float32

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training says the same again
        ours, norms, plain = tf.nest.map_structure(lambda part: part.numpy(), graph(x, y))
    relative, overall = _BFLOAT16 if low_precision_layers(plan.model) else _FLOAT32
    plain_norms = np.sqrt([sum(np.sum(np.square(part)) for part in parts) for parts in plain])
    if not (np.isfinite(norms).all() and np.isfinite(plain_norms).all()):
        return  # such examples show nothing
    whole = plain_norms.sum()
    owners = [layer for layer in plan.layers for _ in layer.trainable_weights]
    for layer, variable, mine, *theirs in zip(owners, variables, ours, *plain, strict=True):
        expected = np.sum(theirs, axis=0)
        error = np.linalg.norm(mine - expected)
        if error > max(relative * np.linalg.norm(expected), overall * whole):
            raise ModelError(
                f"{described(layer)} gets other per-example gradients of {variable.path!r} than "
                "plain backpropagation: its rule is wrong, or its call uses a tensor that is no "
                "argument (kept in an attribute, say)"
            )
    if (np.abs(norms - plain_norms) > relative * plain_norms).any():
        raise ModelError(
            f"model={plan.model.name} gets other norms of per-example gradients than plain "
            "backpropagation: see to the rules that were registered by register_rule"
        )
