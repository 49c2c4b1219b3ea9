"""Conv2D and DepthwiseConv2D layers: any kernel, stride, padding and dilation; groups of Conv2D.

The gradient of an example is sum_t u_t g_t^T over the T output positions, where u_t is the input
patch of position t. For a depthwise layer the gradient of kernel entry (i, j, c, m) is the sum over
positions of the shifted input of channel c times the gradient of output (c, m). These kernels are
small, so the per-example gradients are written out.
"""

from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.rules.dense import position_gradients
from ft_tf.training.dpsgd.rules.registry import (
    PerExampleGradients,
    from_materialized,
    register_rule,
)

_FEW_CHANNELS = 4


def padding_amounts(
    size: int, outputs: int, *, kernel_size: int, stride: int, dilation: int
) -> tuple[int, int]:
    """Returns the zeros before and after an axis with which 'same' padding gives `outputs`."""
    total = max((outputs - 1) * stride + (kernel_size - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _pad(layer: keras.layers.Layer, inputs: tf.Tensor, sizes: list[int]) -> tf.Tensor:
    if layer.padding != "same":
        return inputs
    amounts = [
        padding_amounts(
            inputs.shape[axis + 1],
            sizes[axis],
            kernel_size=layer.kernel_size[axis],
            stride=layer.strides[axis],
            dilation=layer.dilation_rate[axis],
        )
        for axis in range(2)
    ]
    return tf.pad(inputs, [(0, 0), *amounts, (0, 0)])


def shifted_slices(
    layer: keras.layers.Layer, inputs: tf.Tensor, outputs: tf.TensorShape
) -> list[tf.Tensor]:
    """Returns, for each kernel entry in row-major order, its input at every position.

    Args:
        layer: a Conv2D or DepthwiseConv2D layer, channels last.
        inputs: [batch, height, width, channels].
        outputs: the shape of the layer's outputs [batch, rows, columns, filters].

    Returns:
        kernel height * kernel width tensors [batch, rows, columns, channels].
    """
    sizes = outputs[1:3].as_list()
    inputs = _pad(layer, inputs, sizes)
    (row_stride, column_stride), (row_step, column_step) = layer.strides, layer.dilation_rate
    row_span, column_span = (sizes[0] - 1) * row_stride + 1, (sizes[1] - 1) * column_stride + 1
    return [
        inputs[:, top : top + row_span : row_stride, left : left + column_span : column_stride]
        for top in range(0, layer.kernel_size[0] * row_step, row_step)
        for left in range(0, layer.kernel_size[1] * column_step, column_step)
    ]


def _met_along(layer: keras.layers.Conv2D, axis: int, count: int) -> np.ndarray:
    """For each of `count` outputs and each kernel entry: the coordinate in the padded input."""
    starts = np.arange(count)[:, None] * layer.strides[axis]
    return starts + np.arange(layer.kernel_size[axis])[None] * layer.dilation_rate[axis]


def _patches_by_pixel(
    layer: keras.layers.Conv2D, inputs: tf.Tensor, outputs: tf.TensorShape
) -> tf.Tensor:
    """Patches [batch, positions, kernel entries * channels], copied pixel by pixel."""
    sizes = outputs[1:3].as_list()
    inputs = _pad(layer, inputs, sizes)
    _, height, width, channels = inputs.shape
    rows, columns = (_met_along(layer, axis, sizes[axis]) for axis in range(2))
    pixels = rows[:, None, :, None] * width + columns[None, :, None, :]
    flat = tf.reshape(inputs, [-1, height * width, channels])
    patches = tf.gather(flat, tf.constant(pixels.ravel(), tf.int32), axis=1)
    entries = layer.kernel_size[0] * layer.kernel_size[1]
    return tf.reshape(patches, [-1, sizes[0] * sizes[1], entries * channels])


def _patches_by_row(
    layer: keras.layers.Conv2D, inputs: tf.Tensor, outputs: tf.TensorShape
) -> tf.Tensor:
    """Patches [batch, kernel entries * channels, positions], copied row of positions by row."""
    sizes = outputs[1:3].as_list()
    planes = tf.transpose(_pad(layer, inputs, sizes), [0, 3, 1, 2])
    _, channels, height, _ = planes.shape
    stride, step, kernel = layer.strides[1], layer.dilation_rate[1], layer.kernel_size[1]
    span = (sizes[1] - 1) * stride + 1
    # [batch, kernel columns, channels, height, output columns]: one entry per column shift.
    shifted = tf.stack(
        [planes[..., left : left + span : stride] for left in range(0, kernel * step, step)], axis=1
    )
    # For kernel row i, kernel column j, channel c and output row p: the row of `shifted`.
    rows = _met_along(layer, 0, sizes[0]).T[:, None, None, :]
    first = (np.arange(kernel)[:, None] * channels + np.arange(channels)[None]) * height
    chosen = rows + first[None, :, :, None]
    flat = tf.reshape(shifted, [-1, kernel * channels * height, sizes[1]])
    patches = tf.gather(flat, tf.constant(chosen.ravel(), tf.int32), axis=1)
    width = layer.kernel_size[0] * kernel * channels
    return tf.reshape(patches, [-1, width, sizes[0] * sizes[1]])


def convolution_rule(
    layer: keras.layers.Conv2D, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a Conv2D layer, channels last."""
    inputs = tf.cast(inputs, tf.float32)
    gradients = tf.cast(gradients, tf.float32)
    if layer.groups > 1:
        return _grouped(layer, shifted_slices(layer, inputs, gradients.shape), gradients)
    positions = gradients.shape[1:3].num_elements()
    flat = tf.reshape(gradients, [-1, positions, layer.filters])
    # Copies of a few bytes each are slow: where pixels are small, rows are copied.
    by_row = inputs.shape[-1] < _FEW_CHANNELS
    patches = (_patches_by_row if by_row else _patches_by_pixel)(layer, inputs, gradients.shape)
    result = position_gradients(patches, flat, use_bias=layer.use_bias, rows_last=by_row)
    return _in_kernel_shape(layer, result)


def _in_kernel_shape(
    layer: keras.layers.Conv2D, gradients: PerExampleGradients
) -> PerExampleGradients:
    def weighted_sum(weights: tf.Tensor) -> list[tf.Tensor]:
        kernel, *bias = gradients.weighted_sum(weights)
        return [tf.reshape(kernel, layer.kernel.shape), *bias]

    return PerExampleGradients(gradients.squared_norms, weighted_sum)


def _grouped(
    layer: keras.layers.Conv2D, slices: list[tf.Tensor], gradients: tf.Tensor
) -> PerExampleGradients:
    groups, positions = layer.groups, gradients.shape[1:3].num_elements()
    channels, filters = slices[0].shape[-1] // groups, layer.filters // groups
    rows = tf.reshape(tf.stack(slices, axis=3), [-1, positions, len(slices), groups, channels])
    flat = tf.reshape(gradients, [-1, positions, groups, filters])
    kernels = tf.reshape(
        tf.einsum("btkgc,btgo->bkcgo", rows, flat), [-1, *layer.kernel.shape.as_list()]
    )
    biases = [tf.reduce_sum(gradients, axis=[1, 2])] if layer.use_bias else []
    return from_materialized([kernels, *biases])


def takes_images(layer: keras.layers.Layer) -> bool:
    """Returns True if a convolution has its channels last, and one image per example.

    Keras takes further axes before the height, of several images per example.
    """
    ranks = (len(shape) for node in layer._inbound_nodes for shape in _shapes(node.input_shapes))
    return layer.data_format == "channels_last" and all(rank == 4 for rank in ranks)


def _shapes(nest: Any) -> list[tuple[int | None, ...]]:
    return nest if isinstance(nest, list) else [nest]


def depthwise_rule(
    layer: keras.layers.DepthwiseConv2D, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a DepthwiseConv2D layer, channels last."""
    inputs = tf.cast(inputs, tf.float32)
    gradients = tf.cast(gradients, tf.float32)
    channels, multiplier = inputs.shape[-1], layer.depth_multiplier
    by_channel = tf.reshape(gradients, [-1, *gradients.shape[1:3], channels, multiplier])
    entries = [
        tf.reduce_sum(part[..., tf.newaxis] * by_channel, axis=[1, 2])
        for part in shifted_slices(layer, inputs, gradients.shape)
    ]
    kernels = tf.reshape(tf.stack(entries, axis=1), [-1, *layer.depthwise_kernel.shape.as_list()])
    biases = [tf.reduce_sum(gradients, axis=[1, 2])] if layer.use_bias else []
    return from_materialized([kernels, *biases])


register_rule(keras.layers.Conv2D, convolution_rule, applies=takes_images)
register_rule(keras.layers.DepthwiseConv2D, depthwise_rule, applies=takes_images)
