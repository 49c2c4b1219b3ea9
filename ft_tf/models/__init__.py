"""The user's own model: read from a file without running its code, and what it takes and gives.

>>> import keras
>>> from ft_tf import models
>>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
>>> models.ending_of(model).activation, models.ending_of(models.logits_of(model)).activation
('softmax', 'linear')
"""

from ft_tf.models.files import load
from ft_tf.models.fresh import with_fresh_weights
from ft_tf.models.inputs import check_built, check_input_shape, count_inputs
from ft_tf.models.outputs import PROBABILITIES, Ending, ending_of, logits_of
from ft_tf.models.probing import output_shape_of
from ft_tf.models.tflite import TFLiteModel

__all__ = [
    "PROBABILITIES",
    "Ending",
    "TFLiteModel",
    "check_built",
    "check_input_shape",
    "count_inputs",
    "ending_of",
    "load",
    "logits_of",
    "output_shape_of",
    "with_fresh_weights",
]
