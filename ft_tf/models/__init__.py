"""The user's own model: read from a file without running its code, brought from Keras 3 to 2.

>>> import keras as keras_3
>>> from ft_tf import models
>>> theirs = keras_3.Sequential(
...     [keras_3.Input((4,)), keras_3.layers.Dense(3, activation="softmax", name="odds")])
>>> ours = models.convert(theirs)
>>> models.ending_of(ours).activation, models.ending_of(models.logits_of(ours)).activation
('softmax', 'linear')
>>> models.convert(keras_3.Sequential([keras_3.Input((4,)), keras_3.layers.RandomFlip()]))
Traceback (most recent call last):
    ...
ft_tf.errors.ModelError: model='sequential...' cannot be converted from Keras 3: layer 'random_flip'
(RandomFlip) has no counterpart in Keras 2
"""

from ft_tf.models.files import load
from ft_tf.models.fresh import with_fresh_weights
from ft_tf.models.inputs import check_built, check_input_shape, count_inputs
from ft_tf.models.keras3 import convert
from ft_tf.models.outputs import PROBABILITIES, Ending, ending_of, logits_of
from ft_tf.models.probing import output_shape_of

__all__ = [
    "PROBABILITIES",
    "Ending",
    "check_built",
    "check_input_shape",
    "convert",
    "count_inputs",
    "ending_of",
    "load",
    "logits_of",
    "output_shape_of",
    "with_fresh_weights",
]
