"""Small trained networks that come with the package, by name.

They were trained on the full Fashion-MNIST by `experiments.run_plan --plan=zoo`, whose plan says
how, and take pixels in [0, 1] to logits. Weights are stored in float16 and used as float32.
experiments/zoo/README.md has the accuracy of each as stored.
"""

import zipfile
from pathlib import Path

import numpy as np

from ft_tf import architectures
from ft_tf._compat import keras
from ft_tf.errors import ModelError
from ft_tf.untrusted import read_npz

WEIGHTS = Path(__file__).with_name("zoo_weights")


def names() -> tuple[str, ...]:
    """Returns the names of the networks: architecture/training."""
    return tuple(sorted(path.stem.replace("-", "/") for path in WEIGHTS.glob("*.npz")))


def load(name: str) -> keras.Model:
    """Returns one of `names()` as a Keras model.

    Raises:
        ModelError: its weights are damaged.
    """
    path = _path(name)
    model = architectures.build(name.partition("/")[0])
    try:
        stored = read_npz(path, map(str, range(len(model.weights))))
        model.set_weights([weights.astype(np.float32) for weights in stored.values()])
    except (OSError, ValueError) as error:
        raise ModelError(f"model={name!r} is unreadable ({error}): reinstall ft_tf") from None
    return model


def store(model: keras.Model, name: str) -> Path:
    """Writes a trained model's weights, rounded to float16, under a name; returns the file.

    Raises:
        ModelError: weights do not fit the architecture that the name begins with, or float16.
    """
    shapes = [weights.shape for weights in architectures.build(name.partition("/")[0]).weights]
    with np.errstate(over="ignore"):
        rounded = [weights.astype(np.float16) for weights in model.get_weights()]
    if [tuple(shape) for shape in shapes] != [weights.shape for weights in rounded]:
        raise ModelError(f"model={name!r} needs weights of the shapes {shapes}")
    if not all(np.isfinite(weights).all() for weights in rounded):
        raise ModelError(f"model={name!r} has weights that float16 cannot hold")
    path = _path(name)
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number, weights in enumerate(rounded):
            info = zipfile.ZipInfo(f"{number}.npy")  # its date is fixed: equal weights, equal bytes
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w") as member:
                np.lib.format.write_array(member, weights, allow_pickle=False)
    return path


def title(model: Path) -> str:
    """Returns the name of a model file without its folder; a network of the package has none."""
    return str(model) if str(model) in names() else model.name


def beside(model: Path) -> Path:
    """Returns where results about a model file go, without an ending: next to it.

    Those about a network of the package go into the working directory.

    >>> str(beside(Path("dir/file.keras")))
    'dir/file'
    """
    if str(model) in names():
        return Path(str(model).replace("/", "-"))
    return model.with_suffix("")


def _path(name: str) -> Path:
    return WEIGHTS / f"{name.replace('/', '-')}.npz"
