"""A classifier in inference mode whose gradient by its input is cheap to take on a processor.

An attack needs that gradient at each step, for weights that stay as they are meanwhile. Two kinds
of convolution leave a processor nearly idle, and are matrix products here:

1. The first one, with one or three input channels: the usual kernels vectorise over channels. For
   dy [n, h, w', c'], the gradient by its output, and stride 1, the gradient by its input is

       dx[n, p, q, c] = sum_i (dy[n, p - i + top] . band[i])[q, c],
       band[i][(r, c'), (q, c)] = kernel[i, q - r + left, c, c'],  zero outside the kernel:

   each row of dy times each row of the kernel, and the shifted products summed. The band is mostly
   zeros, and yet the product takes a third of the time where kernels are wide.
2. The last ones, on images of a few pixels, where a kernel covers most of the image: written out as
   the matrix from all inputs to all outputs, as a Dense layer has it.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ft_tf._compat import keras, single_use_gradients, tf
from ft_tf.keras_layers import chain_of, kind_of

_MAX_CHANNELS = 3
_MAX_WASTE = 8
"""Multiplications of the banded product over those of the convolution, above which it loses."""


_MAX_MATRIX_WASTE = 2
"""The same for the written-out matrix, whose products are the more efficient ones."""

_MAX_MATRIX_SIZE = 1 << 21
"""Entries of a written-out matrix: a larger one is read from memory at each step."""

_Pass = Callable[[tf.Tensor], tf.Tensor]


def inference_pass(model: keras.Model) -> _Pass:
    """The function x -> model(x, training=False), with the faster gradient where there is one.

    It helps a Sequential model with the convolutions of this module's docstring, on a machine
    without a GPU; any other model is called as it is. Values and gradients agree to rounding. It
    is made for gradients by the input: none flows to the weights of the convolutions replaced.

    Args:
        model: any Keras model. Its weights are read when this function is called: inside a
            tf.function, make one for each use.
    """
    calls = _calls(model)
    if not calls or tf.config.get_visible_devices("GPU"):
        return lambda x: model(x, training=False)
    first = _first_convolution(calls)
    passes: dict[int, _Pass] = {}
    for index, call in enumerate(calls):
        if index == first:
            passes[index] = _convolution(call)
        elif _is_small(call):
            passes[index] = _matrix_product(call)
    if not passes:
        return lambda x: model(x, training=False)

    def predict(x: tf.Tensor) -> tf.Tensor:
        for index, call in enumerate(calls):
            if index in passes:
                x = passes[index](x)
            elif "training" in inspect.signature(call.layer.call).parameters:
                x = call.layer(x, training=False)
            else:
                x = call.layer(x)
        return x

    return predict


class _Call(NamedTuple):
    """A layer of a Sequential model, with the shapes of what it takes and gives."""

    layer: keras.layers.Layer
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]


def _calls(model: keras.Model) -> list[_Call]:
    return [_Call(*call) for call in chain_of(model)]


def _first_convolution(calls: list[_Call]) -> int | None:
    """Index of the layer that the banded product serves, if the model has one."""
    for index, call in enumerate(calls):
        if kind_of(call.layer) == "Conv2D":
            return index if _is_served(call) else None
        if kind_of(call.layer) != "Rescaling":
            return None
    return None


def _is_plain(call: _Call) -> bool:
    """A Conv2D of whose options only strides and padding matter, on images of a known size."""
    layer = call.layer
    return (
        kind_of(layer) == "Conv2D"
        and "call" not in vars(layer)  # a hook of faults sits there
        and layer.quantization_mode is None
        and layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.activation in (keras.activations.relu, keras.activations.linear)
        and None not in call.input_shape[1:]
    )


def _is_served(call: _Call) -> bool:
    return (
        _is_plain(call)
        and call.layer.strides == (1, 1)
        and call.input_shape[-1] <= _MAX_CHANNELS
        and call.input_shape[2] <= _MAX_WASTE * call.layer.kernel_size[1]
    )


def _is_small(call: _Call) -> bool:
    if not _is_plain(call):
        return False
    _, height, width, _ = call.input_shape
    size = int(np.prod(call.input_shape[1:])) * int(np.prod(call.output_shape[1:]))
    waste = height * width / np.prod(call.layer.kernel_size)
    return waste <= _MAX_MATRIX_WASTE and size <= _MAX_MATRIX_SIZE


def _weights(layer: keras.layers.Conv2D) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Kernel and bias in the layer's compute dtype.

    They are values, not variables: a custom gradient would have to return the variables' too.
    """
    kernel = tf.cast(tf.convert_to_tensor(layer.kernel), layer.compute_dtype)
    if layer.bias is None:
        return kernel, None
    return kernel, tf.cast(tf.convert_to_tensor(layer.bias), layer.compute_dtype)


def _margins(call: _Call) -> tuple[int, int]:
    """Rows and columns of zeros before the image."""
    layer = call.layer
    if layer.padding == "valid":
        return 0, 0
    sizes = zip(
        call.input_shape[1:3],
        call.output_shape[1:3],
        layer.kernel_size,
        layer.strides,
        strict=True,
    )
    top, left = (max((out - 1) * step + k - size, 0) // 2 for size, out, k, step in sizes)
    return top, left


def _matrix_product(call: _Call) -> _Pass:
    """What the layer computes, by the matrix from all its inputs to all its outputs."""
    layer = call.layer
    _, height, width, channels = call.input_shape
    _, out_height, out_width, filters = call.output_shape
    kernel, bias = _weights(layer)
    (rows, columns), (down, right), (top, left) = layer.kernel_size, layer.strides, _margins(call)
    p, q, r, s = np.ogrid[:height, :width, :out_height, :out_width]
    row, column = p - down * r + top, q - right * s + left
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    entries = tf.gather(
        tf.reshape(kernel, [rows * columns, channels, filters]),
        np.where(inside, row * columns + column, 0),
    )
    entries *= tf.constant(inside[..., None, None], kernel.dtype)
    inputs, outputs = height * width * channels, out_height * out_width * filters
    matrix = tf.reshape(tf.transpose(entries, [0, 1, 4, 2, 3, 5]), [inputs, outputs])
    if bias is not None:
        bias = tf.tile(bias, [out_height * out_width])

    def predict(x: tf.Tensor) -> tf.Tensor:
        y = tf.matmul(tf.reshape(tf.cast(x, kernel.dtype), [-1, inputs]), matrix)
        if bias is not None:
            y = tf.nn.bias_add(y, bias)
        return tf.reshape(layer.activation(y), [-1, out_height, out_width, filters])

    return predict


def _convolution(call: _Call) -> _Pass:
    """What the layer computes, with the banded product as its gradient."""
    layer = call.layer
    height, width, _ = call.input_shape[1:]
    out_width = call.output_shape[2]
    kernel, bias = _weights(layer)
    rectified = layer.activation is keras.activations.relu
    top, left = _margins(call)
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

    def once(x: tf.Tensor) -> tf.Tensor:
        with single_use_gradients():
            return convolve(tf.cast(x, layer.compute_dtype))

    return once


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
