"""What a model, images and labels must be before an attack or TRADES training means anything."""

import contextlib
import contextvars
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ft_tf._compat import keras, tf
from ft_tf.checks import check_finite
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.examples import check_inputs
from ft_tf.examples import check_labels as check_labels  # for those who look for it here
from ft_tf.keras_layers import output_shape_of
from ft_tf.models import check_built, count_inputs, ending_of

BOUNDS_TOLERANCE = 1e-6
"""How far outside the bounds float32 rounding may put an input, as a share of their width."""


def check_logits_model(model: keras.Model, example: npt.ArrayLike | None = None) -> int:
    """Returns the number of classes of a model that gives logits (2 for a single logit).

    Args:
        model: a built Keras model.
        example: a batch of inputs; needed only for a subclassed model, whose output shape Keras
            does not know.

    Raises:
        ModelError: not a Keras model; more than one input or output; an output that is not
            [n, classes]; a last layer that turns logits into probabilities.
    """
    check_built(model)
    shape = output_shape_of(model)
    check_one_input(model)
    if shape is None and example is not None:
        output = model(tf.convert_to_tensor(example), training=False)
        shape = tuple(output.shape) if tf.is_tensor(output) else []
    if shape is None:
        raise ModelError(f"model={model.name} has an unknown output shape: pass an example batch")
    if not isinstance(shape, tuple):
        raise ModelError(f"model={model.name} must have one input and one output")
    if len(shape) != 2 or not shape[-1]:
        raise ModelError(f"model={model.name} has output shape {shape}, must be (None, classes)")
    ending = ending_of(model)
    if ending is not None and ending.gives_probabilities:
        raise ModelError(
            f"model={model.name} ends in {ending.activation} (layer {ending.layer.name!r}) and "
            f"gives probabilities: remove the {ending.activation} so that it gives logits, or take "
            "ft_tf.models.logits_of(model)"
        )
    return max(2, int(shape[-1]))


_allows_non_finite = contextvars.ContextVar("allows_non_finite", default=False)


@contextlib.contextmanager
def non_finite_logits_allowed() -> Iterator[None]:
    """Within the block attacks do not refuse a model that gives non-finite logits for some images.

    Images whose logits are NaN count as misclassified, as in `metrics.predicted_labels`.
    """
    token = _allows_non_finite.set(True)
    try:
        yield
    finally:
        _allows_non_finite.reset(token)


def check_logits(logits: npt.NDArray[np.floating], *, name: str = "model") -> None:
    """Checks what a model gave for real inputs, [n, classes].

    Raises:
        ModelError: a non-finite value, unless in a block of `non_finite_logits_allowed`; rows that
            are all probability distributions.
    """
    finite = np.isfinite(logits).all(axis=-1)
    if _allows_non_finite.get():
        logits = logits[finite]
    elif not finite.all():
        raise ModelError(
            f"model={name} gives logits that are not finite for {(~finite).sum()} of "
            f"{len(logits)} images: its training has diverged"
        )
    sums = logits.sum(axis=-1, dtype=np.float64)
    is_distribution = (logits >= 0).all() and (np.abs(sums - 1) < 1e-4).all()
    if logits.shape[-1] > 1 and len(logits) > 1 and is_distribution:
        raise ModelError(
            f"model={name} gives probabilities (every row is >= 0 and sums to 1): "
            "remove its softmax so that it gives logits"
        )


def check_one_input(model: keras.Model) -> None:
    """Checks that a model takes one array, which is what an attack moves.

    Raises:
        ModelError: it has several inputs.
    """
    if count_inputs(model) > 1:
        raise ModelError(f"model={model.name} must have one input and one output")


def check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """Returns `bounds` as two floats.

    Raises:
        ArgumentError: not two finite numbers, or the first not below the second.
    """
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise ArgumentError(f"bounds={bounds!r} must be two numbers, lowest and highest input")
    low, high = bounds
    check_finite(**{"bounds[0]": low, "bounds[1]": high})
    if not low < high:
        raise ArgumentError(f"bounds={bounds!r} must have the lower number first")
    return float(low), float(high)


def check_images(x: npt.ArrayLike, bounds: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Returns `x` as float32 inside the bounds; what float32 rounding put outside is clipped.

    Raises:
        ArgumentError: no examples, values that are not finite numbers or lie outside the bounds.
    """
    low, high = check_bounds(bounds)
    array = check_inputs(x)
    if not isinstance(array, np.ndarray):
        raise ArgumentError(f"x={type(x).__name__} must be one array [n, ...]")
    if array.ndim < 2 or not array.size or array.dtype.kind in "bSU":
        raise ArgumentError(
            f"x of shape {array.shape} and dtype {array.dtype} must be numbers [n, ...], n >= 1"
        )
    array = array.astype(np.float32, copy=False)
    smallest, largest = float(array.min()), float(array.max())
    slack = BOUNDS_TOLERANCE * (high - low)
    if not (low - slack <= smallest and largest <= high + slack):
        raise ArgumentError(
            f"x lies in [{smallest:g}, {largest:g}], outside bounds=({low:g}, {high:g}): "
            "rescale the images or pass their bounds"
        )
    return np.clip(array, np.float32(low), np.float32(high))
