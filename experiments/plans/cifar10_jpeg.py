"""What has the JPEG re-encoding of CIFAR-10 done to the results on it?

Question. The images that `cifar10_recipe` trains on have been through JPEG once. The originals are
not at hand; one more loss of the same size is. How far does it move training accuracy, test
accuracy, gap and the accuracy lost at faulty weights?

Cells. The natural run of cifar10_recipe without batch normalisation, at the rate that is chosen
there, on training and test images compressed once more. The first compression shows in its pixels:
of all qualities, compressing again changes them least at 75 with halved colour resolution. So the
second has these settings, on a grid of blocks shifted by 5 pixels each way: on the same grid it
would repeat the first.

Seeds. 0; the spread over seeds is that of cifar10_recipe's natural runs.

Primary measure. Test accuracy, compressed twice minus once, same seed. Next to it: training
accuracy, gap, points lost at 10% stuck-at-0 weights.

Test. None with one seed: the four differences are stated next to the spread over seeds. Of the
claims the premise alone takes the run, as every trained model.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.plans import cifar10_recipe
from ft_tf import data
from ft_tf.data import Dataset
from ft_tf.study import datasets
from ft_tf.study.config import RunConfig

QUALITY, SHIFT = 75, 5


def compressed_again(images: np.ndarray) -> np.ndarray:
    """Images [n, 32, 32, 3] in [0, 1] after JPEG on shifted blocks, edge pixels repeated around."""
    padded = np.pad(images, ((0, 0), (SHIFT, 16 - SHIFT), (SHIFT, 16 - SHIFT), (0, 0)), "edge")
    found = np.empty(images.shape, np.uint8)
    for index, image in enumerate(np.rint(255 * padded).astype(np.uint8)):
        encoded = tf.io.encode_jpeg(image, quality=QUALITY, chroma_downsampling=True)
        found[index] = tf.io.decode_jpeg(encoded)[SHIFT : SHIFT + 32, SHIFT : SHIFT + 32]
    return found


@functools.lru_cache(maxsize=1)
def _load(**where: Any) -> Dataset:
    once = data.load("cifar10", **where)
    return data.from_arrays(
        "cifar10_jpeg",
        x_train=compressed_again(once.x_train),
        y_train=once.y_train,
        x_test=compressed_again(once.x_test),
        y_test=once.y_test,
        source=f"{once.source}, JPEG quality {QUALITY} on blocks shifted by {SHIFT}",
        notes=once.notes,
    )


datasets.register(
    dataclasses.replace(
        datasets.get("cifar10"),
        name="cifar10_jpeg",
        label="CIFAR-10, compressed once more",
        loader=_load,
    )
)


def cells() -> list[RunConfig]:
    """Returns the one run."""
    natural = cifar10_recipe.cells()[0]
    return [
        dataclasses.replace(natural, dataset="cifar10_jpeg", rows=(), label="cifar10_jpeg"),
    ]
