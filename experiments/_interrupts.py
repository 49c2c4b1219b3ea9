"""Ctrl-C while a binary still imports: it ends with a line, and no traceback of an import.

An exception would not do: imports of compiled modules turn KeyboardInterrupt into errors of their
own, and TensorFlow's messages, hence stderr, are held back meanwhile.
"""

import os
import signal
from types import FrameType

INTERRUPTED = 130


class _End:
    """A handler that ends the process; nothing has begun that would need an end of its own."""

    def __init__(self) -> None:
        self.stderr = os.dup(2)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        os.write(self.stderr, b"interrupted\n")
        os._exit(INTERRUPTED)


def end_process() -> None:
    """From now on Ctrl-C ends the process at once, unless it is ignored or handled already."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _End())


def raise_exception() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, where `end_process` was to end the process."""
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, _End):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(handler.stderr)
