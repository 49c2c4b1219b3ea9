"""A directory that a hostile file would like to touch, and proof that it did not."""

import contextlib
import os
import sys
import tracemalloc

import pytest

SECRET = "the secret of the canary"
MODULE = "lurking_module"


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Canary:
    """Files around a hostile one, and a module on the path that leaves a trace when imported."""

    def __init__(self, directory):
        self.directory = directory
        self.secret = directory / "secret.txt"
        self.secret.write_text(SECRET + "\n")
        (directory / "empty").mkdir()
        (directory / f"{MODULE}.py").write_text(
            f"open({str(directory / 'it_ran')!r}, 'w').close()\n"
            "def act(x): return x\n"
            "class Act:\n    from_config = classmethod(lambda cls, config: cls())\n"
        )

    def written(self, name="written"):
        return str(self.directory / name)

    @contextlib.contextmanager
    def refuses(self, error, match, *, peak=64 << 20):
        """A refusal in one line: nothing written, read, imported, or allocated beyond `peak`."""
        # With the usual mount options the first read after a change moves the time of access.
        os.utime(self.secret, (1, self.secret.stat().st_mtime))
        before = self._state()
        tracemalloc.start()
        try:
            with pytest.raises(error, match=match) as refusal:
                yield
            assert tracemalloc.get_traced_memory()[1] < peak
        finally:
            tracemalloc.stop()
        message = str(refusal.value)
        assert "\n" not in message and len(message) < 2000 and SECRET not in message
        assert self._state() == before
        assert MODULE not in sys.modules

    def _state(self):
        """Every file as it is, and when the secret was read last."""
        paths = sorted(self.directory.rglob("*"))
        return [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths], (
            self.secret.stat().st_atime
        )
