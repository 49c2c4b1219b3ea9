"""A classifier in inference mode whose gradient by its input is cheap to take on a processor.

An attack needs that gradient at each step. Its most expensive part is the first convolution, whose
input has one or three channels: the usual kernels vectorise over channels and leave the processor
nearly idle. Here it is one matrix product with a banded matrix. For dy [n, h, w', c'], the
convolution's output gradient, and stride 1,

    dx[n, p, q, c] = sum_i (dy[n, p - i + top] . band[i])[q, c],
    band[i][(r, c'), (q, c)] = kernel[i, q - r + left, c, c'],  zero outside the kernel:

each row of dy times each row of the kernel, and the shifted products summed. It makes more
multiplications than the convolution has (the band is mostly zeros) and takes a third of the time.
"""

import inspect
from collections.abc import Callable

import numpy as np

from ft_tf._compat import keras, tf

_MAX_CHANNELS = 3
_MAX_WASTE = 8
"""Multiplications of the banded product over those of the convolution, above which it loses."""


def inference_pass(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function x -> model(x, training=False), with the faster gradient where there is one.

    It helps a Sequential model that starts with a Conv2D of few channels, on a machine without a
    GPU; any other model is called as it is. Values are the model's own; gradients agree
    to rounding. It is made for gradients by the input: none flows to the first layer's weights.

    Args:
        model: any Keras model. Its weights are read when this function is called: inside a
            tf.function, make one for each use.
    """
    index = _first_convolution(model)
    if index is None:
        return lambda x: model(x, training=False)
    before, rest = model.layers[:index], model.layers[index + 1 :]
    convolve = _convolution(model.layers[index])

    def predict(x: tf.Tensor) -> tf.Tensor:
        for layer in before:
            x = layer(x)
        x = convolve(x)
        for layer in rest:
            takes_mode = "training" in inspect.signature(layer.call).parameters
            x = layer(x, training=False) if takes_mode else layer(x)
        return x

    return predict


def _first_convolution(model: keras.Model) -> int | None:
    """Index of the layer that the banded product serves, if the model has one."""
    if type(model) is not keras.Sequential or not model.built:
        return None
    if tf.config.get_visible_devices("GPU"):
        return None
    for index, layer in enumerate(model.layers):
        if type(layer) is keras.layers.Conv2D:
            return index if _is_served(layer) else None
        if type(layer) not in (keras.layers.InputLayer, keras.layers.Rescaling):
            return None
    return None


def _is_served(layer: keras.layers.Conv2D) -> bool:
    shape = layer.input_shape[1:]
    simple = (
        layer.strides == (1, 1)
        and layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.padding in ("same", "valid")
        and layer.activation in (keras.activations.relu, keras.activations.linear)
    )
    return (
        simple
        and None not in shape
        and shape[-1] <= _MAX_CHANNELS
        and shape[1] <= _MAX_WASTE * layer.kernel_size[1]
    )


def _convolution(layer: keras.layers.Conv2D) -> Callable[[tf.Tensor], tf.Tensor]:
    """What the layer computes, with the banded product as its gradient."""
    height, width, _ = layer.input_shape[1:]
    out_width = layer.output_shape[2]
    # Values, not variables: a custom gradient would have to return the variables' gradients too.
    kernel = tf.cast(tf.convert_to_tensor(layer.kernel), layer.compute_dtype)
    bias = layer.bias
    if bias is not None:
        bias = tf.cast(tf.convert_to_tensor(bias), layer.compute_dtype)
    rectified = layer.activation is keras.activations.relu
    top, left = ((size - 1) // 2 if layer.padding == "same" else 0 for size in layer.kernel_size)
    band = _band(kernel, width=width, out_width=out_width, left=left)
    rows = kernel.shape[0]

    @tf.custom_gradient
    def convolve(x: tf.Tensor) -> tf.Tensor:
        y = tf.nn.conv2d(x, kernel, 1, layer.padding.upper())
        if bias is not None:
            y = tf.nn.bias_add(y, bias)
        if rectified:
            y = tf.nn.relu(y)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            if rectified:
                upstream = tf.raw_ops.ReluGrad(gradients=upstream, features=y)
            by_x = _rows_times_band(upstream, band, rows=rows, height=height, top=top)
            return tf.cast(tf.reshape(by_x, tf.shape(x)), x.dtype)

        return y, gradient

    return lambda x: convolve(tf.cast(x, layer.compute_dtype))


def _band(kernel: tf.Tensor, *, width: int, out_width: int, left: int) -> tf.Tensor:
    """The module's band matrices side by side: [out_width * filters, rows * width * channels]."""
    rows, columns, channels, filters = kernel.shape
    column = np.arange(width)[None, :] - np.arange(out_width)[:, None] + left
    inside = (column >= 0) & (column < columns)
    entries = tf.gather(kernel, np.clip(column, 0, columns - 1), axis=1)
    entries *= tf.constant(inside[None, :, :, None, None], kernel.dtype)
    # rows, out_width, width, channels, filters -> out_width, filters, rows, width, channels
    entries = tf.transpose(entries, [1, 4, 0, 2, 3])
    return tf.reshape(entries, [out_width * filters, rows * width * channels])


def _rows_times_band(
    upstream: tf.Tensor, band: tf.Tensor, *, rows: int, height: int, top: int
) -> tf.Tensor:
    """The input gradient, [n, height, width * channels], summed in float32 at least."""
    _, out_height, out_width, filters = upstream.shape
    products = tf.matmul(tf.reshape(upstream, [-1, out_width * filters]), band)
    products = tf.reshape(products, [-1, out_height, rows, band.shape[1] // rows])
    if products.dtype != tf.float64:
        products = tf.cast(products, tf.float32)
    below = rows - 1 - top
    padded = tf.pad(products, [[0, 0], [below, height - out_height + top], [0, 0], [0, 0]])
    shifted = (padded[:, rows - 1 - row :][:, :height, row] for row in range(rows))
    return tf.add_n(list(shifted))
