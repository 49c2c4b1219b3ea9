"""How many inputs a model has."""

from ft_tf._compat import keras


def count_inputs(model: keras.Model) -> int:
    """Inputs of a model, in whatever structure; 1 for a subclassed one, which does not tell.

    >>> one, two = keras.Input((4,)), keras.Input((3,))
    >>> count_inputs(keras.Model((one, two), keras.layers.Concatenate()([one, two])))
    2
    """
    return len(getattr(model, "inputs", None) or [model])
