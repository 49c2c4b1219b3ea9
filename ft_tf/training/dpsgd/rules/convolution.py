"""Convolutions and depthwise convolutions of 1, 2 and 3 dimensions, with any options.

The gradient of an example is sum_t u_t g_t^T over the T output positions, where u_t is the input
patch of position t. For a depthwise layer the gradient of kernel entry (k, c, m) is the sum over
positions of the shifted input of channel c times the gradient of output (c, m). These kernels are
small, so the per-example gradients are written out.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.rules import (
    PerExampleGradients,
    from_materialized,
    register_rule,
    trains,
)
from ft_tf.training.dpsgd.rules.dense import position_gradients

_FEW_CHANNELS = 4
_L = keras.layers


def _pad(layer: keras.layers.Layer, inputs: tf.Tensor, sizes: Sequence[int]) -> tf.Tensor:
    """Returns the inputs with the zeros that the layer adds to give outputs of `sizes`."""
    if layer.padding == "valid":
        return inputs
    amounts = [((layer.kernel_size[0] - 1) * layer.dilation_rate[0], 0)]  # causal
    if layer.padding == "same":
        axes = (inputs.shape[1:-1], sizes, layer.kernel_size, layer.strides, layer.dilation_rate)
        totals = [
            max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            for size, outputs, kernel, stride, dilation in zip(*axes, strict=True)
        ]
        amounts = [(total // 2, total - total // 2) for total in totals]
    return tf.pad(inputs, [(0, 0), *amounts, (0, 0)])


def shifted_slices(
    layer: keras.layers.Layer, inputs: tf.Tensor, outputs: tf.TensorShape
) -> list[tf.Tensor]:
    """Returns, for each kernel entry in row-major order, its input at every position.

    Args:
        layer: a convolution or depthwise convolution, channels last.
        inputs: [batch, *sizes, channels].
        outputs: the shape of the layer's outputs [batch, *positions, filters].

    Returns:
        As many tensors [batch, *positions, channels] as the kernel has entries.
    """
    sizes = outputs[1:-1].as_list()
    inputs = _pad(layer, inputs, sizes)
    spans = [(size - 1) * stride + 1 for size, stride in zip(sizes, layer.strides, strict=True)]
    starts = itertools.product(
        *(range(0, k * d, d) for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True))
    )
    return [inputs[:, *map(slice, start, np.add(start, spans), layer.strides)] for start in starts]


def _offsets(counts: Sequence[int], steps: Sequence[int], sizes: Sequence[int]) -> np.ndarray:
    """Flat offsets, in an array of `sizes`, of all multiples (< counts) of the steps."""
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    return np.array([
        sum(i * step * stride for i, step, stride in zip(index, steps, strides, strict=True))
        for index in itertools.product(*map(range, counts))
    ])  # fmt: skip


def _patches_by_pixel(
    layer: keras.layers.Layer, inputs: tf.Tensor, outputs: tf.TensorShape
) -> tf.Tensor:
    """Patches [batch, positions, kernel entries * channels], copied pixel by pixel."""
    counts = outputs[1:-1].as_list()
    inputs = _pad(layer, inputs, counts)
    _, *sizes, channels = inputs.shape
    positions = _offsets(counts, layer.strides, sizes)
    entries = _offsets(layer.kernel_size, layer.dilation_rate, sizes)
    pixels = positions[:, None] + entries[None]
    flat = tf.reshape(inputs, [-1, math.prod(sizes), channels])
    patches = tf.gather(flat, tf.constant(pixels.ravel(), tf.int32), axis=1)
    return tf.reshape(patches, [-1, len(positions), len(entries) * channels])


def _patches_by_row(
    layer: keras.layers.Layer, inputs: tf.Tensor, outputs: tf.TensorShape
) -> tf.Tensor:
    """Patches [batch, kernel entries * channels, positions], copied row of positions by row."""
    *counts, width = outputs[1:-1].as_list()
    padded = _pad(layer, inputs, [*counts, width])
    rank = padded.shape.rank
    planes = tf.transpose(padded, [0, rank - 1, *range(1, rank - 1)])
    _, channels, *sizes, _ = planes.shape
    *strides, stride = layer.strides
    *steps, step = layer.dilation_rate
    *kernel, columns = layer.kernel_size
    span = (width - 1) * stride + 1
    # [batch, kernel columns, channels, *sizes, width]: one entry per shift along the last axis.
    shifted = tf.stack(
        [planes[..., left : left + span : stride] for left in range(0, columns * step, step)],
        axis=1,
    )
    # For each kernel entry, channel and row of positions: the row of `shifted`.
    first = np.arange(columns * channels) * math.prod(sizes)
    entries, positions = _offsets(kernel, steps, sizes), _offsets(counts, strides, sizes)
    chosen = entries[:, None, None] + first[:, None] + positions
    flat = tf.reshape(shifted, [-1, len(first) * math.prod(sizes), width])
    patches = tf.gather(flat, tf.constant(chosen.ravel(), tf.int32), axis=1)
    return tf.reshape(patches, [-1, len(entries) * len(first), len(positions) * width])


def convolution_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a Conv1D, Conv2D or Conv3D layer, channels last."""
    inputs = tf.cast(inputs, tf.float32)
    gradients = tf.cast(gradients, tf.float32)
    if layer.groups > 1:
        return _grouped(layer, shifted_slices(layer, inputs, gradients.shape), gradients)
    positions = gradients.shape[1:-1].num_elements()
    flat = tf.reshape(gradients, [-1, positions, layer.filters])
    # Copies of a few bytes each are slow: where pixels are small, rows are copied.
    by_row = inputs.shape[-1] < _FEW_CHANNELS
    patches = (_patches_by_row if by_row else _patches_by_pixel)(layer, inputs, gradients.shape)
    result = position_gradients(patches, flat, use_bias=layer.use_bias, rows_last=by_row)

    def weighted_sum(weights: tf.Tensor) -> list[tf.Tensor]:
        kernel, *bias = result.weighted_sum(weights)
        return [tf.reshape(kernel, layer.kernel.shape), *bias]

    return PerExampleGradients(result.squared_norms, weighted_sum)


def _grouped(
    layer: keras.layers.Layer, slices: list[tf.Tensor], gradients: tf.Tensor
) -> PerExampleGradients:
    groups, positions = layer.groups, gradients.shape[1:-1].num_elements()
    channels, filters = slices[0].shape[-1] // groups, layer.filters // groups
    rows = tf.reshape(tf.stack(slices, axis=-2), [-1, positions, len(slices), groups, channels])
    flat = tf.reshape(gradients, [-1, positions, groups, filters])
    kernels = tf.reshape(
        tf.einsum("btkgc,btgo->bkcgo", rows, flat), [-1, *layer.kernel.shape.as_list()]
    )
    return from_materialized([kernels, *_bias(layer, gradients)])


def _bias(layer: keras.layers.Layer, gradients: tf.Tensor) -> list[tf.Tensor]:
    axes = list(range(1, gradients.shape.rank - 1))
    return [tf.reduce_sum(gradients, axis=axes)] if layer.use_bias else []


def depthwise_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a DepthwiseConv1D or DepthwiseConv2D layer, channels last."""
    inputs = tf.cast(inputs, tf.float32)
    gradients = tf.cast(gradients, tf.float32)
    channels, multiplier = inputs.shape[-1], layer.depth_multiplier
    by_channel = tf.reshape(gradients, [-1, *gradients.shape[1:-1], channels, multiplier])
    axes = list(range(1, gradients.shape.rank - 1))
    entries = [
        tf.reduce_sum(part[..., tf.newaxis] * by_channel, axis=axes)
        for part in shifted_slices(layer, inputs, gradients.shape)
    ]
    kernels = tf.reshape(tf.stack(entries, axis=1), [-1, *layer.kernel.shape.as_list()])
    return from_materialized([kernels, *_bias(layer, gradients)])


def _is_plain(layer: keras.layers.Layer) -> bool:
    return layer.data_format == "channels_last" and trains("kernel", "bias")(layer)


for _kind in (_L.Conv1D, _L.Conv2D, _L.Conv3D):
    register_rule(_kind, convolution_rule, applies=_is_plain)
for _kind in (_L.DepthwiseConv1D, _L.DepthwiseConv2D):
    register_rule(_kind, depthwise_rule, applies=_is_plain)
