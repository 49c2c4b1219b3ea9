"""Reads JSON and .npz files that somebody else may have made, within bounds."""

import json
import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

_DEPTH, _CONTAINERS = 200, 500_000
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_EXPANSION, _SMALL = 20, 1 << 20


def parse_json(text: bytes) -> Any:
    """Parses JSON of at most 200 levels: parsing, and what walks the result, is recursive.

    Raises:
        ValueError: it is no JSON, nested deeper, or made of more than 500,000 lists and objects.

    >>> parse_json(b'{"a": [1, "[["]}')
    {'a': [1, '[[']}
    >>> parse_json(b"[" * 100_000)
    Traceback (most recent call last):
        ...
    ValueError: nested 100,000 levels deep; at most 200
    """
    without_texts = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", text, flags=re.DOTALL)
    brackets = without_texts.translate(None, _NO_BRACKETS)
    if len(brackets) > 2 * _CONTAINERS:
        raise ValueError(f"made of more than {_CONTAINERS:,} lists and objects")
    depth = deepest = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > _DEPTH:
        raise ValueError(f"nested {deepest:,} levels deep; at most {_DEPTH}")
    return json.loads(text)


def read_npz(
    path: str | os.PathLike, names: Iterable[str] | None = None, *, optional: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Reads arrays of plain numbers from an .npz file; none is larger than its bytes account for.

    Args:
        path: The file.
        names: The arrays to read; all by default.
        optional: With `names`, arrays to read if it has them.

    Raises:
        OSError: it cannot be opened.
        ValueError: it lacks an array, is damaged, holds objects (which would be unpickled), or one
            of its arrays declares more than is stored or unpacks to over 20 times its size.
    """
    arrays, names = {}, None if names is None else tuple(names)
    try:
        with zipfile.ZipFile(path) as archive:
            for name in (entry.removesuffix(".npy") for entry in archive.namelist()):
                if names is not None and name not in (*names, *optional):
                    continue
                arrays[name] = _read_array(archive, archive.getinfo(f"{name}.npy"))
    except (
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise ValueError(f"damaged ({error})") from None
    if missing := set(names or ()) - set(arrays):
        raise ValueError(f"it holds no array {min(missing)!r}")
    return arrays


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name, size = member.filename, member.file_size
    if size > max(_SMALL, _EXPANSION * member.compress_size):
        raise ValueError(f"{name} unpacks from {member.compress_size:,} bytes to {size:,}")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"{name} is written in version {version} of its format")
        shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects and no numbers")
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{name} declares the shape {shape}, more than its {size:,} bytes")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
