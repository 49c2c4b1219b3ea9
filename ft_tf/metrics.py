"""What is measured on a trained model: accuracy, the generalization gap, parameter spread.

All accuracies and gaps are fractions in [0, 1]; tables print percent.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.checks import check_fraction, check_positive_integer, check_types
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.examples import check_inputs, check_labels
from ft_tf.keras_layers import output_shape_of
from ft_tf.models import TFLiteModel, check_built, check_input_shape, ending_of
from ft_tf.models.usage import reads_models, version_of

COMPILED_FORWARD = "_ft_tf_forward"
"""Where a model keeps its compiled inference pass, as Keras keeps its own compiled functions."""


def _forward_pass(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The model's compiled inference pass, kept as long as the model's structure stays the same."""
    version = version_of(model)
    kept_version, forward = vars(model).get(COMPILED_FORWARD) or (None, None)
    if kept_version != version:

        @tf.function(reduce_retracing=True, autograph=False)
        def forward(x: tf.Tensor) -> tf.Tensor:
            return tf.cast(model(x, training=False), tf.float32)

        # Past Keras's tracking: it is no part of the model.
        vars(model)[COMPILED_FORWARD] = (version, forward)
    return forward


@reads_models
def predict_logits(model: keras.Model, x: np.ndarray, *, batch_size: int = 1000) -> np.ndarray:
    """Logits of `model` on `x` in inference mode, batch by batch.

    Args:
        model: a Keras classifier that gives logits, or one of a .tflite file.
        x: inputs [n, ...], or a structure of arrays.
        batch_size: results may differ in the last bits between batch sizes.

    Returns:
        float32 [n, classes].
    """
    check_positive_integer(batch_size=batch_size)
    if isinstance(model, TFLiteModel):
        return model.outputs(check_inputs(x), batch_size=batch_size)
    check_built(model)
    x = check_inputs(x, model=model)
    check_input_shape(model, x)
    shape = output_shape_of(model) or (None, None)
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ModelError(f"model={model.name} has output shape {shape}, must be (None, classes)")
    forward = _forward_pass(model)
    parts = []
    for start in range(0, len(tf.nest.flatten(x)[0]), batch_size):
        stop = start + batch_size
        batch = tf.nest.map_structure(lambda part: tf.convert_to_tensor(part[start:stop]), x)  # noqa: B023
        parts.append(forward(batch).numpy())
    return np.concatenate(parts)


def predicted_labels(logits: np.ndarray) -> np.ndarray:
    """Predicted classes: argmax over columns, or logit > 0 where there is one column.

    A row with a NaN is no prediction and gets -1, which is no label: it is never right by chance.
    """
    logits = _checked_logits(logits)
    labels = logits.argmax(axis=1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(logits.sum()):  # one look at all: the usual case
            return labels
    return np.where(np.isnan(logits).any(axis=1), -1, labels)


def accuracy_from_logits(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose predicted class is the label.

    >>> accuracy_from_logits(np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([0, 0]))
    0.5
    >>> accuracy_from_logits(np.array([[0.3], [-0.3]]), np.array([1, 0]))  # one logit: threshold 0
    1.0
    """
    logits = _checked_logits(logits)
    predicted = predicted_labels(logits)
    return float(np.mean(predicted == _checked(labels, logits)))


def _checked_logits(logits: np.ndarray) -> np.ndarray:
    """Logits as an array [n >= 1, classes >= 1]; NaN and infinities may be among them."""
    try:
        array = np.asarray(logits)
    except ValueError:  # rows of different lengths
        array = np.zeros(0)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise ArgumentError(f"logits.shape={array.shape} must be real numbers [n, classes], n >= 1")
    return array


def _checked(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return check_labels(labels, classes=max(2, logits.shape[1]), examples=len(logits))


def _class_logits(logits: np.ndarray) -> np.ndarray:
    """Logits float64 with a column per class, their largest finite for softmax; NaN stays.

    Where the largest is infinite, those equal to it share all of the probability.
    """
    values = logits.astype(np.float64)
    if values.shape[1] == 1:
        values = np.concatenate([np.zeros_like(values), values], axis=1)
    top = values.max(axis=1, keepdims=True)
    return np.where(np.isinf(top), np.where(values == top, 0.0, -np.inf), values)


def error_log_odds(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """log((1 - p) / p) of each label's probability p, float64 [n]; one column is a sigmoid.

    It is log(exp(loss) - 1) of the cross-entropy: it orders examples as their losses do, and tells
    them apart where the loss is rounded to 0, which is from a margin of 37 on.

    >>> [round(float(v), 4) for v in error_log_odds(np.zeros((2, 3)), np.array([0, 1]))]  # ln 2
    [0.6931, 0.6931]
    >>> error_log_odds(np.array([[50.0, 0.0], [-60.0, 0.0]]), np.array([0, 1]))
    array([-50., -60.])
    """
    logits = _checked_logits(logits)
    labels = _checked(labels, logits)
    values = _class_logits(logits)
    at_label = np.arange(len(values)), labels
    own = values[at_label]
    others = values.copy()
    others[at_label] = -np.inf
    top = others.max(axis=1)
    base = np.where(np.isneginf(top), 0.0, top)  # where all others are impossible, so is the error
    with np.errstate(divide="ignore"):
        return base + np.log(np.exp(others - base[:, None]).sum(axis=1)) - own


def calibration_error(
    logits: np.ndarray, labels: np.ndarray, *, bins: int = 15
) -> tuple[float, float]:
    """Expected calibration error (Guo et al. 2017), and the mean confidence.

    The confidence of a prediction is its probability. Predictions fall into bins of equal width by
    it; the error is the mean over predictions of |accuracy - mean confidence| of their bin. It is
    biased upwards where bins hold few predictions.

    Args:
        logits: [n, classes]; one column is a sigmoid.
        labels: int [n].
        bins: their number.

    >>> logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]]))
    >>> [round(v, 4) for v in calibration_error(logits, np.array([0, 1, 1]))]  # (2 * 0.4 + 0.4) / 3
    [0.4, 0.8]
    """
    check_positive_integer(bins=bins)
    logits = _checked_logits(logits)
    right = predicted_labels(logits) == _checked(labels, logits)
    values = _class_logits(logits)
    values = values - values.max(axis=1, keepdims=True)
    confidence = np.nan_to_num(1 / np.exp(values).sum(axis=1))  # a NaN is no prediction
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(number, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(values)), float(confidence.mean())


def accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray, *, batch_size: int = 1000) -> float:
    """Accuracy of `model` on the whole of (x, y), in inference mode.

    One output has its threshold at 0, and at 0.5 where the model gives it as a probability.
    """
    outputs = predict_logits(model, x, batch_size=batch_size)
    if outputs.ndim == 2 and outputs.shape[1] == 1:
        ending = ending_of(model)
        # How some models end is a guess, which what they gave may contradict.
        if ending is not None and _within_0_and_1(outputs):
            outputs = ending.logits(outputs)
    return accuracy_from_logits(outputs, y)


def _within_0_and_1(outputs: np.ndarray) -> bool:
    return bool((outputs >= 0).all() and (outputs <= 1).all())


def generalization_error(*, train_accuracy: float, test_accuracy: float) -> float:
    """G_err = R_train - R_test (equation 2).

    Both parts are accuracies on a whole split, un-augmented, in inference mode, after the last
    epoch; never the running accuracy of fit. Both are fractions in [0, 1].
    """
    check_fraction(train_accuracy=train_accuracy, test_accuracy=test_accuracy)
    return train_accuracy - test_accuracy


@dataclasses.dataclass(frozen=True)
class ParameterSpread:
    """How a model's parameters are spread (section 4.3 of the paper).

    Neither figure survives a rescaling that changes no prediction: one ReLU layer times 2^k and
    the next divided by it moves both at will.

    Attributes:
        standard_deviation: sqrt(mean((theta - mean theta)^2)).
        equation_10: sqrt(mean(|theta - mean theta|)), as printed: there is no square in the sum.
        bin_edges: edges of the histogram's bins, one more than `bin_counts`.
        bin_counts: parameters in each bin.
    """

    standard_deviation: float
    equation_10: float
    bin_edges: tuple[float, ...]
    bin_counts: tuple[int, ...]


def parameter_spread(parameters: Sequence[np.ndarray], *, bins: int = 101) -> ParameterSpread:
    """Spread and histogram of all entries of `parameters`, such as model.get_weights().

    >>> spread = parameter_spread([np.array([1.0, 3.0]), np.array([5.0])])
    >>> round(spread.standard_deviation, 4), round(spread.equation_10, 4)
    (1.633, 1.1547)
    """
    check_positive_integer(bins=bins)
    check_types(np.ndarray, parameters=parameters)
    if not parameters or any(part.dtype.kind not in "fiub" for part in parameters):
        raise ArgumentError("parameters must be arrays of real numbers, at least one")
    values = np.concatenate([np.ravel(p).astype(np.float64) for p in parameters])
    if not values.size or not np.isfinite(values).all():
        raise ArgumentError("parameters must be finite numbers, at least one")
    deviations = values - values.mean()
    counts, edges = np.histogram(values, bins=bins)
    return ParameterSpread(
        standard_deviation=float(np.sqrt(np.mean(deviations**2))),
        equation_10=float(np.sqrt(np.mean(np.abs(deviations)))),
        bin_edges=tuple(float(edge) for edge in edges),
        bin_counts=tuple(int(count) for count in counts),
    )
