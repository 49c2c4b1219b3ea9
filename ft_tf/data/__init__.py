"""The data sets: `load` finds one, says where it came from, and fingerprints what it loaded.

Loading the embedded sample, Debian's files or circles needs no TensorFlow. The parts that do,
`ft_tf.data.augment` and `ft_tf.data.prepare`, are imported by name.
"""

from ft_tf.data.circles import circles, redrawn_circles
from ft_tf.data.dataset import Dataset, fingerprint, from_arrays
from ft_tf.data.loading import NAMES, SOURCES, how_to_get, load
from ft_tf.data.own import load_own
from ft_tf.data.specs import IMAGE_SPECS, ImageSpec
from ft_tf.data.validation import check_labels, check_pixels, check_same_length

__all__ = [
    "IMAGE_SPECS",
    "NAMES",
    "SOURCES",
    "Dataset",
    "ImageSpec",
    "check_labels",
    "check_pixels",
    "check_same_length",
    "circles",
    "fingerprint",
    "from_arrays",
    "how_to_get",
    "load",
    "load_own",
    "redrawn_circles",
]
