"""The plan of the engine: a rule for each layer of a model, chosen before training.

All reasons why a model cannot be trained are collected and raised as one ModelError.
"""

import dataclasses
import warnings
from collections.abc import Iterator

from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.errors import ModelError
from ft_tf.keras_layers import facts_of
from ft_tf.training.dpsgd.rules import Rule, rule_for

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

    def rule(self, layer: keras.layers.Layer) -> Rule | None:
        """Returns the rule of one of `layers`."""
        return self.rules[next(i for i, known in enumerate(self.layers) if known is layer)]


_ATTENTION = keras.layers.MultiHeadAttention | keras.layers.GroupQueryAttention


def _is_container(layer: keras.layers.Layer) -> bool:
    """Returns True for a layer that computes by calling its parts, which are served one by one.

    What else a subclass does with weights is found on the first batch.
    """
    return isinstance(layer, keras.Model | _ATTENTION)


def innermost_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a model and of the containers nested in it, each once."""
    seen: set[int] = set()
    stack = [model]
    while stack:
        layer = stack.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if _is_container(layer):
            stack.extend(reversed(list(layer._flatten_layers(False, recursive=False))))
        else:
            yield layer


def _reason_against(part: keras.layers.Layer) -> str | None:
    """Returns the reason why a layer cannot be trained, or None."""
    if part.trainable and facts_of(part).mixes_examples:
        return f"{_MIXES_EXAMPLES}: use LayerNormalization, or freeze it"
    if part.trainable and facts_of(part).learns_in_inference:
        return "it updates its state from the data without noise: remove it"
    return None


def _problems_of_layer(layer: keras.layers.Layer) -> Iterator[str]:
    name = f"layer {layer.name!r} ({type(layer).__name__})"
    for part in layer._flatten_layers():
        where = name if part is layer else f"{name} contains {type(part).__name__}, which"
        if reason := _reason_against(part):
            yield f"{where} cannot be served: {reason}"
        if isinstance(part, keras.layers.LayerNormalization) and 0 in tf.nest.flatten(part.axis):
            yield f"{where} normalises over axis 0: {_MIXES_EXAMPLES}"
        if getattr(part, "stateful", False) and isinstance(part, keras.layers.RNN):
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
    return any(map(_is_random, layer._flatten_layers()))


def _is_random(part: keras.layers.Layer) -> bool:
    names = ("rate", "stddev") if facts_of(part).random else ("dropout", "recurrent_dropout")
    rates = (getattr(part, name, 0) for name in names)
    return any(isinstance(rate, int | float) and rate > 0 for rate in rates)


def _problems_of_sharing(layers: list[keras.layers.Layer]) -> Iterator[str]:
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
    for part in filter(_is_container, model._flatten_layers()):
        yield from _problems_of_penalties(part, f"layer {part.name!r} ({type(part).__name__})")


def trainability_of(model: keras.Model) -> frozenset[int]:
    """Returns the ids of the trained weights, and of trainable layers that cannot be trained."""
    refused = [part for part in model._flatten_layers() if _reason_against(part)]
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
    layers = []
    for layer in innermost_layers(model):
        problems.extend(_problems_of_layer(layer))
        if layer.trainable_weights:
            layers.append(layer)
    problems.extend(_problems_of_sharing(layers))
    rules = tuple(rule_for(layer) for layer in layers)
    for layer, rule in zip(layers, rules, strict=True):
        if rule is None and _draws_randomness(layer):
            problems.append(
                f"layer {layer.name!r} ({type(layer).__name__}) has no rule and draws its own "
                "dropout or noise: set that to 0 and use a layer such as Dropout"
            )
    known = {id(weight) for layer in layers for weight in layer.trainable_weights}
    if any(id(weight) not in known for weight in model.trainable_weights):
        problems.append(f"model {model.name!r} has trainable weights outside its layers")
    if problems:
        raise ModelError(f"model={model.name} cannot be trained: " + "; ".join(problems))
    if not layers:
        raise ModelError(f"model={model.name} has no trainable weights")
    slow = [
        f"{layer.name!r} ({type(layer).__name__})"
        for layer, rule in zip(layers, rules, strict=True)
        if rule is None
    ]
    if slow:
        warnings.warn(
            "no fast DP-SGD rule for layer " + ", ".join(slow) + ": its per-example gradients "
            "are computed one example at a time, exact but slow; register_rule adds a rule",
            stacklevel=3,
        )
    return Plan(model, tuple(layers), rules, trainability_of(model))


def trainable_variables(plan: Plan) -> list[tf.Variable]:
    """Returns the trained variables, in the order of the plan's layers."""
    return [weight for layer in plan.layers for weight in layer.trainable_weights]
