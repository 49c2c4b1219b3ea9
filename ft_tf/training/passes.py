"""Properties of a model's passes: purity (no dependence on mode or batch), and gain from XLA."""

from ft_tf._compat import keras, tf

_layers = keras.layers
# Exact classes only: a subclass may do anything in its call.
_PURE_LAYERS = frozenset({
    _layers.InputLayer, _layers.Dense, _layers.Conv1D, _layers.Conv2D, _layers.Conv3D,
    _layers.DepthwiseConv2D, _layers.SeparableConv2D, _layers.Conv2DTranspose,
    _layers.MaxPooling1D, _layers.MaxPooling2D, _layers.AveragePooling1D, _layers.AveragePooling2D,
    _layers.GlobalAveragePooling1D, _layers.GlobalAveragePooling2D, _layers.GlobalMaxPooling1D,
    _layers.GlobalMaxPooling2D, _layers.Flatten, _layers.Reshape, _layers.Permute,
    _layers.ZeroPadding1D, _layers.ZeroPadding2D, _layers.Cropping2D, _layers.UpSampling2D,
    _layers.Activation, _layers.ReLU, _layers.LeakyReLU, _layers.ELU, _layers.PReLU,
    _layers.Softmax, _layers.Add, _layers.Subtract, _layers.Multiply, _layers.Average,
    _layers.Maximum, _layers.Minimum, _layers.Concatenate, _layers.Dot, _layers.Rescaling,
    _layers.LayerNormalization, _layers.Embedding,
})  # fmt: skip

_DENSE_LAYERS = frozenset({
    _layers.InputLayer, _layers.Dense, _layers.Flatten, _layers.Reshape, _layers.Rescaling,
    _layers.Activation, _layers.ReLU,
})  # fmt: skip

_FUNCTIONAL = type(keras.Model(inputs=(_input := keras.Input((1,))), outputs=_input))
_GRAPH_MODELS = (keras.Sequential, _FUNCTIONAL)


def passes_are_pure(model: keras.layers.Layer) -> bool:
    """Returns True if every layer depends neither on the mode nor on the rest of the batch.

    An unknown layer (a subclass, a Lambda, a model with its own call) counts as impure, which costs
    time and never correctness.
    """
    if type(model) not in _GRAPH_MODELS:
        return type(model) in _PURE_LAYERS
    return all(passes_are_pure(layer) for layer in model.layers)


def gains_from_xla(model: keras.layers.Layer) -> bool:
    """Returns True if XLA makes an attack on this model faster: a network of Dense layers, on CPU.

    Its matrix products are small, and the operations between them, which XLA fuses, cost as much.
    XLA makes convolutions on a processor several times slower.
    """
    if tf.config.get_visible_devices("GPU"):
        return False
    if type(model) not in _GRAPH_MODELS:
        return type(model) in _DENSE_LAYERS
    return all(gains_from_xla(layer) for layer in model.layers)
