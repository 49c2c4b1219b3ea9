"""The sample of Fashion-MNIST that comes with the package.

It lets everything run on a fresh machine without a download. It is not the data set: its source
says so on every record. Fashion-MNIST is (c) 2017 Zalando SE, MIT licence: see
LICENSE-fashion-mnist in this directory.

In each class of each split the images are ranked by the SHA-256 of b"ft_tf sample 1|" and the
image's bytes; the first 600 (100) were taken, each image at most once, training first. The same
rank orders the rows of the file.
"""

from pathlib import Path

from ft_tf.data.dataset import SAMPLE_PREFIX, Dataset, from_arrays
from ft_tf.data.specs import FASHION_MNIST
from ft_tf.errors import DataError
from ft_tf.untrusted import read_npz

SAMPLE_PATH = Path(__file__).with_name("fashion_mnist_sample.npz")
PER_CLASS = {"train": 600, "test": 100}
_ROWS = {split: n * len(FASHION_MNIST.class_names) for split, n in PER_CLASS.items()}
SAMPLE_SOURCE = f"{SAMPLE_PREFIX}fashion_mnist:{_ROWS['train']}+{_ROWS['test']}"


def read_sample(path: Path = SAMPLE_PATH) -> Dataset:
    """Loads the embedded sample: 6,000 training and 1,000 test images, 600 and 100 per class.

    Raises:
        DataError: the file is missing or corrupt.
    """
    try:
        arrays = read_npz(path, ("x_train", "y_train", "x_test", "y_test"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the embedded sample is unreadable ({error}): reinstall") from None
    for split, rows in _ROWS.items():
        if arrays[f"x_{split}"].shape != (rows, *FASHION_MNIST.shape):
            raise DataError(f"{path}: the embedded sample has a wrong shape: reinstall")
    return from_arrays(
        FASHION_MNIST.name,
        **arrays,
        source=SAMPLE_SOURCE,
        notes=("a stratified SAMPLE of Fashion-MNIST, not the data set",),
    )
