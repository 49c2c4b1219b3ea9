"""Files of a run: read whole, written whole or not at all."""

import contextlib
import dataclasses
import fcntl
import glob
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from ft_tf.errors import RunError
from ft_tf.records.parsing import parse, to_dict
from ft_tf.records.results import Attack
from ft_tf.records.schema import Record, Run, from_dict
from ft_tf.untrusted import check_regular

FILE_NAME = "record.json"
ATTACKS = "attacks"


def without_nan(value: Any) -> Any:
    """Returns JSON values with NaN and infinities replaced by None; NumPy scalars become plain."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def check_writable(path: Path) -> None:
    """Checks that a file can be written, before work that takes long.

    Makes the directories that it needs, and writes nothing.

    Raises:
        RunError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(None, "it is a directory")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error})") from None


def write_text(path: Path, text: str | bytes) -> None:
    """Writes a file so that a reader sees the old or the new content, never a part.

    Temporary files that killed processes left of the same file are deleted.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete_orphans(path)
        temporary, opened = _locked_part(path)
        try:
            with opened as file:
                file.write(text if isinstance(text, bytes) else text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
                os.chmod(temporary, 0o644)
                os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error})") from None


_PART = ".part"


def _locked_part(path: Path) -> tuple[str, BinaryIO]:
    """A new temporary file of `path`; locked until it is closed: see _delete_orphans."""
    while True:
        descriptor, temporary = tempfile.mkstemp(_PART, f".{path.name}.", path.parent)
        file = os.fdopen(descriptor, "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return temporary, file
        file.close()  # before it was locked another process took it for an orphan


def _delete_orphans(path: Path) -> None:
    """Deletes temporary files of `path` that no living process has locked."""
    for orphan in path.parent.glob(f".{glob.escape(path.name)}.????????{_PART}"):
        with contextlib.suppress(OSError), open(orphan, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            orphan.unlink()


def dumps(value: Any) -> str:
    """Returns JSON as all files of a run have it: sorted keys, one trailing newline, no NaN."""
    return json.dumps(without_nan(to_dict(value)), indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file.

    Raises:
        RunError: the file cannot be read or is not JSON.
    """
    try:
        check_regular(path)
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error})") from None
    return loads(content, where=str(path))


def loads(text: str | bytes, *, where: str) -> Any:
    """Returns the content of JSON text.

    Raises:
        RunError: it is not JSON.
    """
    try:
        return json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except RecursionError:
        raise RunError(f"{where} is not valid JSON of ft_tf: it is nested too deep") from None
    except ValueError as error:
        raise RunError(f"{where} is not valid JSON ({error}); it may be damaged") from None


def write(directory: Path, record: Record) -> Path:
    """Writes a record into a run's directory, once.

    NaN and infinities are written as null.

    Raises:
        RunError: there is a record already, or this one breaks the schema.
    """
    path = directory / FILE_NAME
    if path.exists():
        raise RunError(f"{path} exists: a record is written once; delete the run to repeat it")
    fields = without_nan(to_dict(record))
    from_dict(fields, where=str(path))
    write_text(path, dumps(fields))
    return path


def load(path: Path) -> Record:
    """Reads and checks one record.json, or the one in a run's directory.

    Results of `experiments.attack` are in separate files below attacks/; they are added to
    `robustness`, after those of the run itself.

    Raises:
        RunError: a file cannot be read, is not JSON, or breaks the schema.
    """
    path = path / FILE_NAME if path.is_dir() else path
    record = from_dict(read_json(path), where=str(path))
    if not isinstance(record, Run):
        return record
    later = tuple(
        parse(Attack, read_json(file), where=str(file), what="attack")
        for file in sorted((path.parent / ATTACKS).glob("*.json"))
    )
    return dataclasses.replace(record, robustness=record.robustness + later)


def load_all(directory: Path | str) -> list[Record]:
    """Returns all records below a directory, sorted by name.

    Raises:
        RunError: the directory does not exist, a record is not valid, or two have one name.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise RunError(f"{directory} is not a directory: no records there")
    found: dict[str, tuple[Path, Record]] = {}
    for path in sorted(directory.rglob(FILE_NAME)):
        record = load(path)
        if record.name in found:
            raise RunError(
                f"{path} and {found[record.name][0]} have one name: a run would count twice; "
                "move one of them away"
            )
        found[record.name] = path, record
    return [found[name][1] for name in sorted(found)]
