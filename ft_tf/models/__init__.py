"""The user's own model: read from a file without running its code, brought from Keras 3 to 2."""

from ft_tf.models.files import load
from ft_tf.models.keras3 import convert
from ft_tf.models.outputs import Ending, ending_of, logits_of

__all__ = ["Ending", "convert", "ending_of", "load", "logits_of"]
