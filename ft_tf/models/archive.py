"""Opens a model file without trusting it: zip, HDF5 and JSON are checked before Keras sees them.

Only what Keras itself writes passes. Sizes are bounded by what the file declares before anything is
unpacked, and its weights are counted without being read.
"""

import dataclasses
import io
import math
import mmap
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from ft_tf.untrusted import parse_json

_HDF5 = b"\x89HDF\r\n\x1a\n"
_WEIGHTS = "model.weights.h5"
_MEMBERS = {"metadata.json": 1 << 16, "config.json": 1 << 24, _WEIGHTS: 1 << 40}
"""Members of a .keras file, with the most bytes that each may unpack to."""
_DIRECTORY_SIZE = 1 << 12
"""Bytes of a zip file's directory: three members take about 200."""
_EXPANSION, _SMALL = 20, 1 << 20
"""A member larger than `_SMALL` unpacks to at most 20 times its size (Keras does not compress)."""
_TEXTS = 1 << 30
"""Bytes of the texts in one attribute of an HDF5 file, were each as long as the longest."""
_OBJECTS = 100_000
"""Groups and datasets in an HDF5 file."""


class RefusedError(Exception):
    """The file is refused; the message says why, without naming the file."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a model file says of itself.

    Attributes:
        version: "2" or "3", the major version of Keras that wrote it.
        config: The model's configuration, parsed and otherwise unchecked.
        stored: Numbers that its weights consist of.
        zipped: Whether it is a .keras file and not HDF5.
    """

    version: str
    config: Any
    stored: int
    zipped: bool


def read(path: Path) -> Contents:
    """Reads a .keras, .h5 or .hdf5 file up to, but not including, the values of its weights.

    Raises:
        RefusedError: it is missing, damaged, no model, or holds what Keras does not write.
    """
    try:
        if path.is_dir():
            raise RefusedError(
                "it is a directory; a SavedModel holds code: save it as a .keras file"
            )
        if path.exists() and not path.is_file():
            raise RefusedError("it is not a regular file")
        with path.open("rb") as file:
            if file.read(len(_HDF5)) == _HDF5:
                return _read_hdf5(path, file)
            if path.suffix != ".keras" or not zipfile.is_zipfile(file):
                raise RefusedError("it is not a .keras file")
            return _read_zip(file)
    except OSError as error:
        raise RefusedError(error.strerror or f"the file is damaged ({error})") from None
    except (ValueError, KeyError, TypeError, RuntimeError, EOFError, MemoryError) as error:
        raise RefusedError(f"the file is damaged ({error})") from None
    except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
        raise RefusedError(f"the file is damaged ({error})") from None


def _read_zip(file: BinaryIO) -> Contents:
    if _directory_size(file) > _DIRECTORY_SIZE:
        raise RefusedError("it holds more files than the three of a .keras file")
    with zipfile.ZipFile(file) as archive:
        _check_members(archive.infolist(), file.seek(0, io.SEEK_END))
        metadata = parse_json(archive.read("metadata.json"))
        config = parse_json(archive.read("config.json"))
        version = _major(metadata["keras_version"])
        raw = archive.read(_WEIGHTS)
        with h5py.File(io.BytesIO(raw), "r") as weights:
            stored = _count_weights(weights, raw)
    return Contents(version, config, stored, zipped=True)


def _directory_size(file: BinaryIO) -> int:
    """Bytes of a zip file's directory by its own account, which `zipfile` reads whole."""
    file.seek(max(0, file.seek(0, io.SEEK_END) - (1 << 16) - 22 - 20 - 56))
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        raise RefusedError("the file is damaged (it has no directory)")
    size = struct.unpack_from("<L", tail, end + 12)[0]
    if tail[end - 20 : end - 16] == b"PK\6\7" and end >= 76:  # zip64: read where `zipfile` does
        size = max(size % 0xFFFFFFFF, struct.unpack_from("<Q", tail, end - 76 + 40)[0])
    return size


def _check_members(members: list[zipfile.ZipInfo], file_size: int) -> None:
    names = [member.filename for member in members]
    for member in members:
        name = member.filename
        if name.startswith("assets/"):
            raise RefusedError(
                f"it holds {name!r}, a vocabulary that `adapt` learned and that Keras would unpack "
                "to disk: build the layer with vocabulary=[...] and save again"
            )
        if name not in _MEMBERS:
            raise RefusedError(f"it holds {name!r}, which is no part of a .keras file")
        if names.count(name) > 1:
            raise RefusedError(f"it holds {name!r} more than once")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise RefusedError(f"{name!r} in it is a symbolic link")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RefusedError(f"{name!r} in it is compressed by other means than deflate")
        if member.compress_size > file_size or member.file_size > _MEMBERS[name]:
            raise RefusedError(f"{name!r} in it has {member.file_size:,} bytes, too many")
        if member.file_size > max(_SMALL, _EXPANSION * member.compress_size):
            raise RefusedError(
                f"{name!r} in it unpacks from {member.compress_size:,} bytes to "
                f"{member.file_size:,}: Keras does not compress"
            )


def _major(version: Any) -> str:
    major = str(version).split(".")[0]
    if major not in ("2", "3"):
        raise RefusedError(f"it was written by Keras {str(version)[:20]!r}")
    return major


def _read_hdf5(path: Path, file: BinaryIO) -> Contents:
    if path.suffix not in (".h5", ".hdf5"):
        raise RefusedError("it is an HDF5 file: rename it to end in .h5")
    with (
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw,
        h5py.File(file, "r") as contents,
    ):
        stored = _count_weights(contents, raw)
        if "model_config" not in contents.attrs:
            raise RefusedError(
                "it holds weights and no model: build the model in Python, call its "
                "load_weights, and save it as a .keras file"
            )
        text = contents.attrs["model_config"]
        version = contents.attrs.get("keras_version", "2")
        text = text.encode() if isinstance(text, str) else bytes(text)
        version = version.decode() if isinstance(version, bytes) else version
    if len(text) > _MEMBERS["config.json"]:
        raise RefusedError(f"its description has {len(text):,} bytes, too many")
    return Contents(_major(version), parse_json(text), stored, zipped=False)


def _count_weights(file: h5py.File, raw: bytes | mmap.mmap) -> int:
    """Numbers in an HDF5 file whose datasets are plain, lie in it and are no larger than it.

    Args:
        file: Opened; none of its datasets is read.
        raw: Its bytes.
    """
    numbers = total = 0
    for name, dataset in _datasets(file, _longest_text(raw, file)):
        layout = dataset.id.get_create_plist()
        if dataset.dtype.kind not in "fiubV" or dataset.dtype.names or dataset.dtype.hasobject:
            raise RefusedError(f"{name!r} in it holds {dataset.dtype}, and no numbers")
        if layout.get_external_count():
            raise RefusedError(f"{name!r} in it keeps its values in another file")
        if layout.get_layout() == h5py.h5d.VIRTUAL:
            raise RefusedError(f"{name!r} in it takes its values from elsewhere")
        if layout.get_nfilters():
            raise RefusedError(f"{name!r} in it is compressed: save the model again with Keras")
        count = math.prod(dataset.shape or ())
        numbers, total = numbers + count, total + count * dataset.dtype.itemsize
        if total > len(raw):
            raise RefusedError(
                f"{name!r} in it declares {dataset.shape}, more than the file of {len(raw):,} bytes"
            )
    return numbers


def _datasets(file: h5py.File, longest_text: int) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets of an HDF5 file; refuses links, and objects that can be reached twice."""
    groups, seen = [("", file)], {h5py.h5o.get_info(file.id).addr}
    while groups:
        prefix, group = groups.pop()
        _check_attributes(prefix or "/", group, longest_text)
        for key in group:
            name = f"{prefix}/{key}"[-200:]
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise RefusedError(f"{name!r} in it is a {type(link).__name__} to something else")
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen or len(seen) > _OBJECTS:
                raise RefusedError(f"{name!r} in it can be reached twice, or is one too many")
            seen.add(address)
            if isinstance(item, h5py.Group):
                groups.append((name, item))
            elif isinstance(item, h5py.Dataset):
                _check_attributes(name, item, longest_text)
                yield name, item
            else:
                raise RefusedError(f"{name!r} in it is no group and no dataset")


def _check_attributes(name: str, item: h5py.Group | h5py.Dataset, longest_text: int) -> None:
    """Attributes are numbers and texts; a list of texts may repeat a long one many times."""
    for key in item.attrs:
        attribute = item.attrs.get_id(key)
        if not attribute.dtype.hasobject:
            continue
        if h5py.check_string_dtype(attribute.dtype) is None:
            raise RefusedError(f"the attribute {key!r} of {name!r} in it is no text and no number")
        if math.prod(attribute.shape) * longest_text > _TEXTS:
            raise RefusedError(f"the attribute {key!r} of {name!r} in it may take too much memory")


def _longest_text(contents: bytes | mmap.mmap, file: h5py.File) -> int:
    """The most bytes of any text of variable length, found where HDF5 keeps them: in its heaps."""
    if file.id.get_create_plist().get_sizes() != (8, 8):
        raise RefusedError("it is an HDF5 file with addresses of an unusual size")
    longest = 0
    for heap in re.finditer(rb"GCOL\x01\0\0\0", contents):
        position = heap.end() + 8
        end = heap.start() + struct.unpack_from("<Q", contents, heap.end())[0]
        while position + 16 <= min(end, len(contents)):
            index, length = struct.unpack_from("<H6xQ", contents, position)
            if index == 0:
                break  # free space
            longest = max(longest, min(length, len(contents)))
            position += 16 + -(-length // 8) * 8
    return longest
