"""Images in folders, one folder per class."""

import math
from pathlib import Path

import numpy as np

from ft_tf._compat import tf
from ft_tf.data.files import MAX_BYTES
from ft_tf.errors import DataError
from ft_tf.untrusted import check_regular

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp")


def read(
    folder: Path, shape: tuple[int | None, ...] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[str, ...]]:
    """Reads images, float32 in [0, 1], and their labels, which are the places of sorted folders.

    Args:
        folder: holds a folder per class, or test/, and perhaps train/, with such folders.
        shape: of a model's inputs: (h, w, c), (h, w) for gray images, or another, which says
            nothing. Images are resized only if all sizes differ from it.

    Returns:
        x_test, y_test and perhaps x_train, y_train; names of the classes; what to know.

    Raises:
        DataError: there are no such folders, or an image cannot be used.
    """
    places = {split: folder / split for split in ("test", "train")}
    places = {split: place for split, place in places.items() if _folders(place)}
    if list(places) == ["train"]:
        raise DataError(f"data={str(folder)!r} has a folder train/ with classes, and no test/")
    places = places or {"test": folder}
    classes = sorted({name for place in places.values() for name in _folders(place)})
    found = {
        split: [(p, label) for label, name in enumerate(classes) for p in _files(place / name)]
        for split, place in places.items()
    }
    if not all(found.values()):
        raise DataError(
            f"data={str(folder)!r} must have one folder of images ({', '.join(ENDINGS)}) per class,"
            " perhaps below test/ and train/"
        )
    wanted = (*shape, 1)[:3] if shape and len(shape) in (2, 3) else (None, None, None)
    x, notes = _images([path for files in found.values() for path, _ in files], wanted)
    arrays = {}
    for split, files in found.items():
        arrays[f"x_{split}"], x = x[: len(files)], x[len(files) :]
        arrays[f"y_{split}"] = np.array([label for _, label in files], np.int64)
    return arrays, tuple(classes), notes


def _folders(place: Path) -> list[str]:
    if not place.is_dir():
        return []
    return [p.name for p in place.iterdir() if p.is_dir() and not p.name.startswith(".")]


def _files(place: Path) -> list[Path]:
    found = place.iterdir() if place.is_dir() else ()
    return sorted(p for p in found if p.suffix.lower() in ENDINGS and not p.name.startswith("."))


def _images(
    paths: list[Path], wanted: tuple[int | None, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Images [n, h, w, c], and a note if they were resized."""
    first = _decoded(paths[0], wanted[-1])
    is_fixed = None not in wanted
    size = tuple(wanted) if is_fixed else first.shape
    if len(paths) * math.prod(size) * 4 > MAX_BYTES:
        raise DataError(f"{len(paths):,} images of shape {size} take more than {MAX_BYTES} bytes")
    x, others = np.empty((len(paths), *size), np.float32), {}
    for row, path in zip(x, paths, strict=True):
        image = _decoded(path, wanted[-1])
        if image.shape != size:
            others[path] = "{} x {}".format(*image.shape)
            if not is_fixed:
                break
            image = tf.image.resize(image, size[:2], antialias=True).numpy()
        np.clip(image / np.float32(255), 0, 1, out=row)  # resizing rounds: 1.0000001 is no pixel
    if others and (not is_fixed or len(others) < len(paths)):
        raise DataError(f"{next(iter(others))}: its shape is not {size}, that of other images")
    if not others:
        return x, ()
    sizes = set(others.values())
    were = min(sizes) if len(sizes) == 1 else f"{len(sizes)} sizes"
    return x, (f"images are resized from {were} to {size[0]} x {size[1]}, which the model takes",)


def _decoded(path: Path, channels: int | None) -> np.ndarray:
    """The pixels of an image, uint8 [h, w, c], transparency left out; c is 1 or 3."""
    try:
        check_regular(path)
        image = tf.io.decode_image(path.read_bytes(), expand_animations=False)
    except (tf.errors.OpError, OSError):
        raise DataError(f"{path}: is no PNG, JPEG or BMP image that can be decoded") from None
    image = image[..., : image.shape[-1] - 1 + image.shape[-1] % 2]
    if channels == 1 and image.shape[-1] == 3:
        image = tf.image.rgb_to_grayscale(image)
    elif channels == 3 and image.shape[-1] == 1:
        image = tf.image.grayscale_to_rgb(image)
    if channels not in (None, image.shape[-1]):
        raise DataError(f"{path}: the model takes {channels} channels, images have 1 or 3")
    return image.numpy()
