"""The plan of the engine: a rule for each layer of a model, chosen before training.

All reasons why a model cannot be trained are collected and raised as one ModelError.
"""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence

from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.errors import ModelError
from ft_tf.keras_layers import all_layers, calls_parts, facts_of, innermost_layers
from ft_tf.training.dpsgd.rules import Rule, registered

_MIXES_EXAMPLES = "it mixes the examples of a batch, so that examples have no separate gradients"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The computation of a model's per-example gradients.

    Attributes:
        model: the model.
        layers: its innermost layers with trainable weights, each once.
        rules: one entry per layer: its rule, or None for the exact slower path.
        trainability: of the model when the plan was made; see `trainability_of`.
    """

    model: keras.Model
    layers: tuple[keras.layers.Layer, ...]
    rules: tuple[Rule | None, ...]
    trainability: frozenset[int]

    @property
    def holds(self) -> bool:
        """True if the same weights and layers are frozen as when the plan was made."""
        return self.trainability == trainability_of(self.model)

    def check_holds(self) -> None:
        """Rejects a plan that no longer holds.

        Raises:
            ModelError: layers were frozen or unfrozen since.
        """
        if not self.holds:
            raise ModelError(
                f"model={self.model.name} had layers frozen or unfrozen since compile: call "
                "compile again"
            )


def described(layer: keras.layers.Layer) -> str:
    """Returns the name and the class of a layer, for messages."""
    return f"layer {layer.name!r} ({type(layer).__name__})"


def _reason_against(part: keras.layers.Layer) -> str | None:
    """Returns the reason why a layer cannot be trained, or None."""
    facts = facts_of(part)
    if facts.mixes_examples and facts.random:
        return f"{_MIXES_EXAMPLES}: leave it out"
    if part.trainable and facts.mixes_examples:
        return f"{_MIXES_EXAMPLES}: use LayerNormalization, or freeze it"
    if part.trainable and facts.learns_in_inference:
        return "it updates its state from the data without noise: remove it"
    return None


def _problems_of_layer(layer: keras.layers.Layer) -> Iterator[str]:
    name = described(layer)
    for part in all_layers(layer):
        where = name if part is layer else f"{name} contains {type(part).__name__}, which"
        if reason := _reason_against(part):
            yield f"{where} cannot be served: {reason}"
        facts = facts_of(part)
        if facts.by_axis and 0 in tf.nest.flatten(part.axis):
            yield f"{where} normalises over axis 0: {_MIXES_EXAMPLES}"
        if facts.recurrent and part.stateful:
            yield f"{where} carries its state from batch to batch: set stateful=False"
        yield from _problems_of_penalties(part, where)
    if any(weight.regularizer is not None for weight in layer.trainable_weights):
        yield f"{name} has a weight regularizer: use weight_decay instead"
    if layer.quantization_mode == "float8" and layer.trainable:
        yield f"{name} is quantised to float8, whose scales are trained without clipping: freeze it"
    activation = getattr(layer, "activation", None)
    is_layer = isinstance(activation, keras.layers.Layer)
    if is_layer and (activation.trainable_weights or not activation.built):
        yield f"{name} has an activation with weights: make the activation a separate layer"
    if layer.compute_dtype == "float16":
        yield f"{name} computes in float16, which needs loss scaling: use mixed_bfloat16"


def _problems_of_penalties(part: keras.layers.Layer, where: str) -> Iterator[str]:
    if getattr(part, "activity_regularizer", None) is not None:
        yield f"{where} has an activity regularizer, whose gradient would not be clipped: remove it"


def _draws_randomness(layer: keras.layers.Layer) -> bool:
    """Returns True if computing the layer again would draw other random numbers."""
    for part in all_layers(layer):
        names = ("rate", "stddev") if facts_of(part).random else ("dropout", "recurrent_dropout")
        rates = (getattr(part, name, 0) for name in names)
        if any(isinstance(rate, int | float) and rate > 0 for rate in rates):
            return True
    return False


def _problems_of_sharing(layers: Sequence[keras.layers.Layer]) -> Iterator[str]:
    owners: dict[int, list[str]] = {}
    for layer in layers:
        for weight in layer.trainable_weights:
            owners.setdefault(id(weight), []).append(layer.name)
    for names in {tuple(names) for names in owners.values() if len(names) > 1}:
        yield f"layers {', '.join(map(repr, names))} share a weight, which cannot be served"


def _problems_of_model(model: keras.Model) -> Iterator[str]:
    if not model.built:
        raise ModelError(f"model={model.name} is not built: give it an Input or call it once")
    if tf.nest.is_nested(getattr(model, "output", None)):
        yield f"model {model.name!r} has several outputs or a nest, and the loss needs one tensor"
    for part in filter(calls_parts, all_layers(model)):
        yield from _problems_of_penalties(part, described(part))


def trainability_of(model: keras.Model) -> frozenset[int]:
    """Returns the ids of the trained weights, and of trainable layers that cannot be trained."""
    refused = [part for part in all_layers(model) if _reason_against(part)]
    return frozenset(map(id, [*model.trainable_weights, *refused]))


def check_no_added_losses(model: keras.Model) -> None:
    """Rejects losses that the last call of `model` added: they would train without clipping.

    Raises:
        ModelError: there is such a loss.
    """
    if model.losses:
        raise ModelError(
            f"model={model.name} adds losses (add_loss or a regularizer), which DP-SGD "
            "would leave out: make them part of the compiled loss, or remove them"
        )


def make_plan(model: keras.Model) -> Plan:
    """Chooses a rule for each layer of `model`.

    Warns, by name, of each layer that takes the exact slower path.

    Raises:
        ModelError: the model cannot be trained; the message lists all reasons.
    """
    require_keras_model(model)
    problems = list(_problems_of_model(model))
    parts = innermost_layers(model)
    layers = tuple(layer for layer in parts if layer.trainable_weights)
    rules = tuple(registered(layer)[0] for layer in layers)
    slow = [layer for layer, rule in zip(layers, rules, strict=True) if rule is None]
    for layer in parts:
        problems.extend(_problems_of_layer(layer))
    problems.extend(_problems_of_sharing(layers))
    problems.extend(
        f"{described(layer)} has no rule and draws its own dropout or noise: set that to 0 and use "
        "a layer such as Dropout"
        for layer in filter(_draws_randomness, slow)
    )
    known = {id(weight) for layer in layers for weight in layer.trainable_weights}
    if any(id(weight) not in known for weight in model.trainable_weights):
        problems.append(f"model {model.name!r} has trainable weights outside its layers")
    if problems:
        raise ModelError(f"model={model.name} cannot be trained: " + "; ".join(problems))
    if not layers:
        raise ModelError(f"model={model.name} has no trainable weights")
    if slow:
        warnings.warn(
            f"no fast DP-SGD rule for {', '.join(map(described, slow))}: its per-example gradients "
            "are computed one example at a time, exact but slow; register_rule adds a rule",
            stacklevel=3,
        )
    return Plan(model, layers, rules, trainability_of(model))


def trainable_variables(plan: Plan) -> list[tf.Variable]:
    """Returns the trained variables, in the order of the plan's layers."""
    return [weight for layer in plan.layers for weight in layer.trainable_weights]
