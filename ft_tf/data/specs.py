"""What each image data set must be: its shape, its official split sizes, its classes."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """The facts that a source has to meet before it is taken for the data set.

    Attributes:
        name: The data set's name, which is also its TFDS builder's.
        shape: Height, width and channels of an image.
        num_train: Rows of the official training split.
        num_test: Rows of the official test split.
        class_names: Names of the labels 0, 1, ...
        homepage: Where the data set comes from.
    """

    name: str
    shape: tuple[int, int, int]
    num_train: int
    num_test: int
    class_names: tuple[str, ...]
    homepage: str

    @property
    def counts(self) -> dict[str, int]:
        """Rows by the name of the split."""
        return {"train": self.num_train, "test": self.num_test}


FASHION_MNIST = ImageSpec(
    name="fashion_mnist",
    shape=(28, 28, 1),
    num_train=60_000,
    num_test=10_000,
    class_names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    homepage="https://github.com/zalandoresearch/fashion-mnist",
)  # fmt: skip

CIFAR10 = ImageSpec(
    name="cifar10",
    shape=(32, 32, 3),
    num_train=50_000,
    num_test=10_000,
    class_names=(
        "airplane", "automobile", "bird", "cat", "deer",
        "dog", "frog", "horse", "ship", "truck",
    ),
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
)  # fmt: skip

IMAGE_SPECS = {spec.name: spec for spec in (FASHION_MNIST, CIFAR10)}
"""The image data sets by name."""
