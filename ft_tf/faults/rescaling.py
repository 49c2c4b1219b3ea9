"""A change of all parameters' spread that changes no prediction, with or without faults.

One ReLU layer's kernel and bias times c > 0, and the next layer's kernel divided by c, compute the
same function: relu(c z) = c relu(z), and what lies between the two (pooling, flattening) keeps c
as a factor. For c = 2^k nothing is even rounded differently, and a zero stays a zero, so that every
stuck-at-0 curve stays the same to the bit. The standard deviation of the parameters, and equation
10, move at will.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ft_tf import metrics
from ft_tf._compat import keras, require_keras_model
from ft_tf.checks import shown
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.faults.arming import inject
from ft_tf.keras_layers import facts_of
from ft_tf.models.usage import using


def rescalable_layers(model: keras.Model) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """The pair to rescale: of all ReLU layers that feed another layer the one with most parameters.

    Raises:
        ModelError: the model is no such chain, or no ReLU layer in it feeds another one.
    """
    require_keras_model(model)
    if not isinstance(model, keras.Sequential):
        raise ModelError(f"model={model.name!r} cannot be rescaled: it is not Sequential")
    pairs = []
    first: keras.layers.Layer | None = None
    for layer in model.layers:
        if facts_of(layer).columns:
            if first is not None:
                pairs.append((first, layer))
            first = layer if layer.activation is keras.activations.relu else None
        elif not facts_of(layer).homogeneous:
            first = None
    if not pairs:
        raise ModelError(f"model={model.name!r} cannot be rescaled: no ReLU layer feeds another")
    return max(pairs, key=lambda pair: pair[0].count_params())


@contextlib.contextmanager
def rescaled(model: keras.Model, *, power: int) -> Iterator[None]:
    """Within the block the ReLU layer of `rescalable_layers` is times 2^power, the next divided.

    The weights come back to the byte. Faults may be put in within the block, not around it.

    Raises:
        ModelError: the model cannot be rescaled, is armed with faults, or another thread uses it.
    """
    require_keras_model(model)
    _check_powers([power])
    with using(model, "arm"):
        pass  # not now
    with using(model, "trace"):
        first, second = rescalable_layers(model)
        kept = first.get_weights(), second.get_weights()
        factor = np.float32(2.0**power)
        try:
            first.set_weights([weight * factor for weight in kept[0]])
            second.set_weights([kept[1][0] / factor, *kept[1][1:]])
            yield
        finally:
            first.set_weights(kept[0])
            second.set_weights(kept[1])


def _check_powers(powers: Sequence[int]) -> None:
    if not isinstance(powers, list | tuple) or not powers:
        raise ArgumentError(f"powers={shown(powers)} must be a list of integers, at least one")
    for power in powers:
        # Within these bounds a weight of ordinary size stays a normal float32.
        if not isinstance(power, int | np.integer) or isinstance(power, bool) or abs(power) > 60:
            raise ArgumentError(f"power={shown(power)} must be an integer in [-60, 60]")


def rescaled_spreads(
    model: keras.Model,
    x: np.ndarray,
    *,
    powers: Sequence[int] = (-6, -4, -2, 0, 2, 4, 6),
) -> dict[str, Any]:
    """Both forms of equation 10 after rescalings, and whether a single logit changed.

    The ReLU layer is multiplied by 2^power for each of `powers`, and logits are compared on x, bit
    by bit.

    Returns:
        {"layers": names of the two, "powers", "standard_deviation", "equation_10": one value per
        power, "changed_logits", "changed_logits_under_faults": how many logits differ from those
        of the model as it is, and as it is with half of its weights stuck at 0, summed over the
        powers}.

    Raises:
        ModelError: the model cannot be rescaled; see `rescalable_layers`.
    """
    _check_powers(powers)
    first, second = rescalable_layers(model)

    def logits(rate: float) -> np.ndarray:
        with inject(model, target="weights", rate=rate, seed=0):
            return metrics.predict_logits(model, x)

    before = logits(0.0), logits(0.5)
    changed = np.zeros(2, int)
    spreads = []
    for power in powers:
        with rescaled(model, power=power):
            spreads.append(metrics.parameter_spread(model.get_weights()))
            after = logits(0.0), logits(0.5)
            changed += [np.sum(old != new) for old, new in zip(before, after, strict=True)]
    return {
        "layers": [first.name, second.name],
        "powers": list(powers),
        "standard_deviation": [spread.standard_deviation for spread in spreads],
        "equation_10": [spread.equation_10 for spread in spreads],
        "changed_logits": int(changed[0]),
        "changed_logits_under_faults": int(changed[1]),
    }
