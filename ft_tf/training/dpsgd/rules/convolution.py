"""Conv2D layers: any kernel, stride, padding, dilation and groups, with and without bias.

The gradient of an example is sum_t u_t g_t^T over the T output positions, where u_t is the input
patch of position t. Patches come from shifted slices of the padded input, one per kernel entry.
"""

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.rules.positions import position_gradients
from ft_tf.training.dpsgd.rules.registry import (
    PerExampleGradients,
    from_materialized,
    register_rule,
)


def padding_amounts(
    size: int, outputs: int, *, kernel_size: int, stride: int, dilation: int
) -> tuple[int, int]:
    """Zeros before and after an axis so that 'same' padding gives `outputs` positions."""
    total = max((outputs - 1) * stride + (kernel_size - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def shifted_slices(
    layer: keras.layers.Layer, inputs: tf.Tensor, outputs: tf.TensorShape
) -> list[tf.Tensor]:
    """For each kernel entry, in row-major order, the input that it meets at every position.

    Args:
        layer: a Conv2D or DepthwiseConv2D layer, channels last.
        inputs: [batch, height, width, channels].
        outputs: the shape of the layer's outputs [batch, rows, columns, filters].

    Returns:
        kernel height * kernel width tensors [batch, rows, columns, channels].
    """
    sizes = outputs[1:3].as_list()
    if layer.padding == "same":
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
        inputs = tf.pad(inputs, [(0, 0), *amounts, (0, 0)])
    (row_stride, column_stride), (row_step, column_step) = layer.strides, layer.dilation_rate
    row_span, column_span = (sizes[0] - 1) * row_stride + 1, (sizes[1] - 1) * column_stride + 1
    return [
        inputs[:, top : top + row_span : row_stride, left : left + column_span : column_stride]
        for top in range(0, layer.kernel_size[0] * row_step, row_step)
        for left in range(0, layer.kernel_size[1] * column_step, column_step)
    ]


def convolution_rule(
    layer: keras.layers.Conv2D, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a Conv2D layer, channels last."""
    inputs = tf.cast(inputs, tf.float32)
    gradients = tf.cast(gradients, tf.float32)
    slices = shifted_slices(layer, inputs, gradients.shape)
    positions = gradients.shape[1:3].num_elements()
    if layer.groups > 1:
        return _grouped(layer, slices, gradients)
    rows = tf.reshape(tf.concat(slices, axis=-1), [-1, positions, len(slices) * inputs.shape[-1]])
    flat = tf.reshape(gradients, [-1, positions, layer.filters])
    return _in_kernel_shape(layer, position_gradients(rows, flat, use_bias=layer.use_bias))


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


def _applies(layer: keras.layers.Layer) -> bool:
    return layer.data_format == "channels_last"


register_rule(keras.layers.Conv2D, convolution_rule, applies=_applies)
