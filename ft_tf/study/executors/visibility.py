"""Whether a worker on another machine sees the same files and has the same packages."""

import dataclasses
import hashlib
import os
import platform
import secrets
import time
from pathlib import Path

import ft_tf
from ft_tf import records
from ft_tf._compat import package_versions
from ft_tf.errors import RunError, StackError

_SECONDS = 10.0  # a network file system may show a new file with delay


@dataclasses.dataclass(frozen=True)
class Witness:
    """A file by which a worker proves that it sees what this process sees.

    Attributes:
        path: of the file, absolute.
        digest: SHA-256 of its bytes.
        temporary: it was put into a directory for this purpose, where workers are to write.
    """

    path: Path
    digest: str
    temporary: bool

    def check(self) -> None:
        """Looks for the file, in a worker.

        Raises:
            RunError: it is not there, not the same, or in a place that cannot be written.
        """
        deadline = time.monotonic() + _SECONDS
        while not self._is_seen():
            if time.monotonic() > deadline:
                raise RunError(
                    f"output_dir={str(self.path.parent)!r} is not there, or is another one, on the "
                    f"worker {platform.node()}: runs must lie on a file system that all nodes share"
                )
            time.sleep(0.2)
        if self.temporary and not os.access(self.path.parent, os.W_OK):
            raise RunError(
                f"output_dir={str(self.path.parent)!r} cannot be written on {platform.node()}"
            )

    def _is_seen(self) -> bool:
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest() == self.digest
        except OSError:
            return False

    def forget(self) -> None:
        """Takes a temporary file away again."""
        if self.temporary:
            self.path.unlink(missing_ok=True)


def witness(path: Path) -> Witness:
    """A witness for a file, or a temporary file for a directory that workers write to.

    Raises:
        RunError: the directory cannot be written.
    """
    path = path.absolute()
    temporary = path.is_dir()
    if temporary:
        path = path / f".witness-{secrets.token_hex(8)}"
        records.write_text(path, secrets.token_hex(8))
    return Witness(path, hashlib.sha256(path.read_bytes()).hexdigest(), temporary)


def versions() -> dict[str, str | None]:
    """Versions of ft_tf and of the packages that results depend on."""
    return {"ft_tf": ft_tf.__version__, **package_versions()}


def check_versions(expected: dict[str, str | None]) -> None:
    """Compares a worker's packages with those of the process that started it.

    Raises:
        StackError: one differs; the message has all.
    """
    here = versions()
    differences = [
        f"{name} {here[name]} instead of {version}"
        for name, version in expected.items()
        if here[name] != version
    ]
    if differences:
        raise StackError(
            f"the worker {platform.node()} has {', '.join(differences)}: results would differ; "
            "install the same packages on every node"
        )
