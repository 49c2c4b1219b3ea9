"""Reads JSON and .npz files that somebody else may have made, within bounds."""

import errno
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

_DEPTH, _CONTAINERS = 200, 500_000
# Texts, or a bracket outside of them. Possessive and with a match for a text without an end, or a
# text of n escaped quotes would be read n times.
_TEXTS_OR_BRACKET = re.compile(
    rb'(?:"[^"\\]*+(?:\\.?+[^"\\]*+)*+(?:"|\Z)[^"\[\]{}]*+)++|([\[\]{}])', re.DOTALL
)
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
    text = text.decode("utf-8-sig").encode()  # in UTF-16 a letter may hold the byte of a quote
    depth = deepest = 0
    brackets = (found[1] for found in _TEXTS_OR_BRACKET.finditer(text) if found[1])
    for number, bracket in enumerate(brackets):
        if number >= 2 * _CONTAINERS:
            raise ValueError(f"made of more than {_CONTAINERS:,} lists and objects")
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > _DEPTH:
        raise ValueError(f"nested {deepest:,} levels deep; at most {_DEPTH}")
    return json.loads(text)


def check_regular(path: str | os.PathLike) -> None:
    """Raises OSError unless a path is a file on a disk: reading a FIFO waits for ever.

    >>> check_regular("/dev/null")
    Traceback (most recent call last):
        ...
    OSError: [Errno 22] not a regular file: '/dev/null'
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def read_npz(
    path: str | os.PathLike, names: Iterable[str] | None = None, *, optional: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Reads arrays of plain numbers from an .npz file; none is larger than its bytes account for.

    Args:
        path: The file.
        names: The arrays to read; all by default.
        optional: With `names`, arrays to read if it has them.

    Raises:
        OSError: it cannot be opened, or is no regular file.
        ValueError: it lacks an array, is damaged, holds objects (which would be unpickled), or one
            of its arrays declares more than is stored or unpacks to over 20 times its size.
    """
    arrays, names = {}, None if names is None else tuple(names)
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            for name in (entry.removesuffix(".npy") for entry in archive.namelist()):
                if names is not None and name not in (*names, *optional):
                    continue
                if name in arrays:
                    raise _RefusedError(f"it holds {name!r} more than once")
                arrays[name] = _read_array(archive, archive.getinfo(f"{name}.npy"))
    except (OSError, _RefusedError):
        raise
    except Exception as error:  # zipfile and NumPy's parser of headers raise nearly anything
        reason = (str(error).splitlines() or [""])[0][:100] or type(error).__name__
        raise ValueError(f"damaged ({reason})") from None
    if missing := set(names or ()) - set(arrays):
        raise ValueError(f"it holds no array {min(missing)!r}")
    return arrays


class _RefusedError(ValueError):
    """An array that is not read; the message says why."""


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name, size = member.filename, member.file_size
    if size > max(_SMALL, _EXPANSION * member.compress_size):
        raise _RefusedError(f"{name} unpacks from {member.compress_size:,} bytes to {size:,}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _RefusedError(f"{name} is compressed by other means than deflate")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise _RefusedError(f"{name} is written in version {version} of its format")
        shape, _, dtype = read_header(file)
    if dtype.kind not in "biufc":
        kind = "Python objects" if dtype.hasobject else f"values of type {str(dtype)[:40]}"
        raise _RefusedError(f"{name} holds {kind} and no numbers")
    if math.prod(shape) * dtype.itemsize > size:
        shown = str(shape)[:100]
        raise _RefusedError(f"{name} declares the shape {shown}, more than its {size:,} bytes")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
