"""A run's directory: one configuration, one process at a time, nothing overwritten."""

import contextlib
import errno
import fcntl
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ft_tf import records
from ft_tf.errors import FtTfError, InUseError, RunError

CONFIG = "config.json"
LOCK = ".lock"
HISTORY = "history.csv"
MODEL = "model.keras"
CHECKPOINTS = "checkpoints"
EPOCHS_STARTED = "epochs_started.log"
TRAINED_ON = "trained_on.log"

_FULL = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]

History = dict[str, list[float]]


def recorded(
    kind: type[records.Record],
    directory: Path,
    *,
    config: dict[str, Any],
    data: records.Data,
    compute: Callable[[], dict[str, Any]],
) -> records.Record:
    """Returns a run's record: the one that is there, or a new one with what `compute` returns.

    Args:
        kind: the record's class.
        directory: of the run, which is held meanwhile.
        config: the configuration, as the record has it.
        data: what the run is bound to as well.
        compute: returns the other fields but the timing; it may return `data` with more in it.

    Raises:
        RunError: the directory cannot be written, is in use, or belongs to another config.
    """
    with claimed(directory):
        bind(directory, {"config": config, "data": data})
        if not (directory / records.FILE_NAME).exists():
            started, count = time.monotonic(), directory / ".sessions"
            sessions = int(count.read_text()) + 1 if count.exists() else 1
            records.write_text(count, f"{sessions}\n")
            fields = {"config": config, "data": data, "failure": None} | compute()
            status = "finished" if fields["failure"] is None else "failed"
            timing = records.Timing(round(time.monotonic() - started, 1), sessions)
            record = kind(name=directory.name, status=status, timing=timing, **fields)
            records.write(directory, record)
        return records.load(directory)


@contextlib.contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Holds a run's directory for this process; it is made if it does not exist.

    The lock is the system's (flock): it goes with the process, however that ends. Who holds it can
    be read in the file.

    Raises:
        InUseError: another process holds it.
        RunError: it cannot be written, or the disk becomes full while it is held.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = open(directory / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 (held for the run)
    except OSError as error:
        raise RunError(
            f"output_dir={str(directory)!r} cannot be written ({error.strerror}): choose another"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise InUseError(
            f"output_dir={str(directory)!r} is in use by another process"
            f"{f' ({holder})' if holder else ''}: wait for it or choose another"
        ) from None
    try:
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {platform.node()}\n")
        lock.flush()
        yield
    except Exception as error:
        # Python, HDF5 and TensorFlow each have their own exception for a full disk.
        full = [reason for reason in _FULL if reason in str(error)]
        if not full or isinstance(error, FtTfError):
            raise
        raise RunError(
            f"output_dir={str(directory)!r} cannot be written ({full[0]}): make room there; the "
            "same command goes on from here"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # on a full disk, closing fails as the writing did
            lock.close()


def bind(directory: Path, identity: dict[str, Any]) -> None:
    """Ties a directory to its run's identity: {"config": ..., "data": ...}.

    Raises:
        RunError: the directory belongs to another configuration, or to other data.
    """
    path = directory / CONFIG
    if not path.exists():
        records.write_text(path, records.dumps(identity))
        return
    found = records.read_json(path)
    here = records.without_nan(records.to_dict(identity))
    if found == here:
        return
    found = found if isinstance(found, dict) else {}
    record = directory / records.FILE_NAME
    failed = record.exists() and records.load(record).status == "failed"
    differences = sorted(
        f"{key}: {there!r} there, {wanted!r} here"
        for part in ("config", "data")
        for key, there, wanted in _differences(found.get(part), here[part])
    )
    raise RunError(
        f"output_dir={str(directory)!r} belongs to another config "
        f"({'; '.join(differences) or 'its config.json is damaged'}): choose another"
        f"{', or delete this one, whose training failed' if failed else ''}"
    )


def _differences(found: Any, wanted: Any) -> list[tuple[str, Any, Any]]:
    if not isinstance(found, dict):
        return []
    keys = sorted({*found, *wanted})
    return [(k, found.get(k), wanted.get(k)) for k in keys if found.get(k) != wanted.get(k)]


def write_history(directory: Path, history: History) -> None:
    """Writes the per-epoch history as CSV, a row per epoch."""
    text = pd.DataFrame(history).to_csv(index=False, na_rep="nan")
    records.write_text(directory / HISTORY, text)


def read_history(directory: Path, *, epochs: int) -> History:
    """The first `epochs` rows of the history; what a lost process wrote beyond is dropped.

    Raises:
        RunError: rows are missing that the checkpoint presupposes.
    """
    path = directory / HISTORY
    if not epochs:
        return {}
    try:
        rows = pd.read_csv(path, float_precision="round_trip", dtype=float)
    except (OSError, ValueError):
        raise RunError(f"{path} cannot be read, but {epochs} epochs are done") from None
    if len(rows) < epochs:
        raise RunError(f"{path} has {len(rows)} rows, but {epochs} epochs are done")
    return rows[:epochs].to_dict("list")


def delete_strays(directory: Path, *, latest: str | None) -> None:
    """Deletes what killed processes left of checkpoints that they did not finish.

    `latest` is the checkpoint that is kept, as TensorFlow names it; None if there is none.
    """
    place = directory / CHECKPOINTS
    for path in [*place.glob("checkpoint.tmp*"), *place.glob("ckpt-*")]:
        if latest is not None and path.name.startswith(f"{Path(latest).name}."):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def note_epoch_started(directory: Path, epoch: int) -> None:
    """Writes ahead that an epoch begins, so that its steps count even if the process is lost."""
    _append(directory / EPOCHS_STARTED, str(epoch))


def epochs_started(directory: Path) -> int:
    """How many times an epoch was begun, over all processes that worked on the run."""
    return len(_lines(directory / EPOCHS_STARTED))


def note_device(directory: Path, device: str) -> None:
    """Writes down that a device begins, or goes on with, the training."""
    if devices(directory)[-1:] != [device]:
        _append(directory / TRAINED_ON, device)


def devices(directory: Path) -> list[str]:
    """The devices that a run was trained on, one after another."""
    return _lines(directory / TRAINED_ON)


def _append(path: Path, line: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
