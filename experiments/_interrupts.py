"""Ctrl-C and SIGTERM, which are handled alike: while a binary imports, and while it works.

While it imports, an exception would not do: imports of compiled modules turn KeyboardInterrupt into
errors of their own, and TensorFlow's messages, hence stderr, are held back meanwhile.
"""

import os
import signal
from types import FrameType

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class _End:
    """A handler that ends the process; nothing has begun that would need an end of its own."""

    def __init__(self) -> None:
        self.stderr = os.dup(2)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        os.write(self.stderr, b"interrupted\n")
        os._exit(128 + number)


def end_process() -> None:
    """From now on signals end the process at once, unless they are ignored or handled already."""
    for number, default in _DEFAULTS.items():
        if signal.getsignal(number) == default:
            signal.signal(number, _End())


def raise_exception() -> None:
    """From now on signals raise KeyboardInterrupt, where `end_process` was to end the process."""
    for number in _DEFAULTS:
        handler = signal.getsignal(number)
        if isinstance(handler, _End):
            signal.signal(number, _raise)
            os.close(handler.stderr)


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


def code(error: KeyboardInterrupt) -> int:
    """The exit code after an interrupt: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (error.args[0] if error.args else signal.SIGINT)
