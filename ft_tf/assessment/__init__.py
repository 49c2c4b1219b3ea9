"""One card about one model: fault tolerance, robustness, privacy, and what was not measured."""

from ft_tf.assessment.card import FILE_NAME, Card, load
from ft_tf.assessment.run import IMAGES, assess, stored_format

__all__ = ["FILE_NAME", "IMAGES", "Card", "assess", "load", "stored_format"]
