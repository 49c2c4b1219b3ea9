"""`load`: a data set by name, from the first place that has it, saying which place that was."""

import os
from pathlib import Path

from ft_tf.checks import check_choice, check_path, check_type
from ft_tf.data.circles import circles
from ft_tf.data.dataset import Dataset, from_arrays
from ft_tf.data.files import find_tfds_version, tfds_root
from ft_tf.data.idx import read_idx_directory
from ft_tf.data.sample import read_sample
from ft_tf.data.specs import FASHION_MNIST, IMAGE_SPECS, ImageSpec
from ft_tf.errors import ArgumentError, DataError, DataNotFoundError

NAMES = (*IMAGE_SPECS, "circles")
"""The data sets that `load` knows."""

SOURCES = ("tfds", "debian", "embedded-sample", "sklearn.make_circles")
"""The kinds of places that `load` knows: what a Dataset's source says before its first colon."""

DEBIAN_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the IDX files."""


def how_to_get(name: str) -> str:
    """What to do about a data set that is not there, or only as a sample, in words."""
    check_choice(NAMES, dataset=name)
    return (
        f"pass --download, or run python -m experiments.prepare_data --dataset={name} --from=DIR "
        "--data_dir=DIR on local files and give --data_dir=DIR"
    )


def load(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    download: bool = False,
    source: str | None = None,
) -> Dataset:
    """Loads a data set into memory. Only `download=True` ever uses the network.

    Images are looked for in this order, and the first place that has them serves:

    1. a TFDS directory: `data_dir` when given (then nowhere else), else $TFDS_DATA_DIR or
       ~/tensorflow_datasets;
    2. Fashion-MNIST only: Debian's package dataset-fashion-mnist;
    3. with `download`: TFDS downloads to the directory of 1;
    4. Fashion-MNIST only: the sample in the package, 6,000 training and 1,000 test images.

    A place that has the data set in a broken state raises; it is never skipped.

    Args:
        name: "fashion_mnist", "cifar10" or "circles" (Table 3's data; needs no files).
        data_dir: A TFDS data directory. One that lacks the data set is an error, unless
            `download` fills it.
        download: Whether TFDS may download what is not on this machine.
        source: Only this kind of place: "tfds", "debian", "embedded-sample" or
            "sklearn.make_circles". A full source as a Dataset has it is held to as well.

    Returns:
        The Dataset; images float32 [n, h, w, c] in [0, 1], labels int64 [n].

    Raises:
        ArgumentError: an unknown name or source, or a source that does not serve this name.
        DataNotFoundError: the data is not there.
        DataError: it is truncated, corrupt, not what it claims to be, or `data_dir` is no
            directory.

    >>> load("circles").describe()
    'circles: 30 training + 70 test examples from sklearn.make_circles:..., sha256 ...'
    """
    check_choice(NAMES, dataset=name)
    if data_dir is not None:
        check_path(data_dir=data_dir)
    if source is not None:
        check_type(str, source=source)
    kind = None if source is None else source.split(":")[0]
    if kind is not None:
        check_choice(_kinds(name), source=kind)
        if kind != "tfds" and kind != "sklearn.make_circles" and data_dir is not None:
            raise ArgumentError(f"source={source!r} does not read data_dir={os.fspath(data_dir)!r}")
    if name == "circles":
        dataset = circles()
    else:
        dataset = _load_images(IMAGE_SPECS[name], data_dir, download, kind)
    if source is not None and ":" in source and dataset.source != source:
        raise DataError(f"source={source!r} was asked for, but {dataset.source!r} is what is there")
    return dataset


def _kinds(name: str) -> tuple[str, ...]:
    if name == "circles":
        return ("sklearn.make_circles",)
    return ("tfds", "debian", "embedded-sample") if name == FASHION_MNIST.name else ("tfds",)


def _load_images(
    spec: ImageSpec, data_dir: str | os.PathLike | None, download: bool, kind: str | None
) -> Dataset:
    """Tries the places in the order that `load` documents."""
    kinds = _kinds(spec.name) if kind is None else (kind,)
    if data_dir is not None:
        kinds = ("tfds",)
    if "tfds" in kinds:
        dataset = _load_tfds(spec, data_dir)
        if dataset is not None:
            return dataset
    if "debian" in kinds and DEBIAN_DIRECTORY.is_dir():
        arrays = read_idx_directory(DEBIAN_DIRECTORY, spec)
        return from_arrays(spec.name, **arrays, source="debian:dataset-fashion-mnist")
    if "tfds" in kinds and download:
        return _download(spec, data_dir)
    if "embedded-sample" in kinds:
        return read_sample()
    if data_dir is not None and not Path(data_dir).is_dir():
        remedy = how_to_get(spec.name)
        raise DataError(f"data_dir={os.fspath(data_dir)!r} is not a directory: {remedy}")
    raise DataNotFoundError(_absence(spec, data_dir, kinds))


def _load_tfds(spec: ImageSpec, data_dir: str | os.PathLike | None) -> Dataset | None:
    directory = find_tfds_version(tfds_root(data_dir), spec.name)
    return None if directory is None else _read_tfds(spec, directory)


def _download(spec: ImageSpec, data_dir: str | os.PathLike | None) -> Dataset:
    from ft_tf.data import tfds_source  # brings TensorFlow, which the other sources do not need

    return _read_tfds(spec, tfds_source.download(spec.name, tfds_root(data_dir)))


def _read_tfds(spec: ImageSpec, directory: Path) -> Dataset:
    from ft_tf.data import tfds_source

    stored = tfds_source.read(directory, spec)
    return from_arrays(
        spec.name,
        **stored.arrays,
        source=f"tfds:{spec.name}:{stored.version}",
        notes=stored.notes,
    )


def _absence(spec: ImageSpec, data_dir: str | os.PathLike | None, kinds: tuple[str, ...]) -> str:
    """Why there is no data set, and what to do."""
    remedy = how_to_get(spec.name)
    if data_dir is not None:
        missing = f"{spec.name}/VERSION/dataset_info.json"
        return (
            f"data_dir={os.fspath(data_dir)!r} does not hold {spec.name} (no {missing}): {remedy}"
        )
    if kinds == ("debian",):
        return f"{DEBIAN_DIRECTORY} is not there: apt install dataset-fashion-mnist"
    return f"dataset={spec.name!r} is not in {tfds_root(None)}: {remedy}"
