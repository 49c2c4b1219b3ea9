"""Ctrl-C kept waiting while something must not be cut in half."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Delays Ctrl-C until the block has run, so that a restoration cannot be cut in half.

    Python raises KeyboardInterrupt in the main thread whichever thread the signal reached, and
    TensorFlow has threads of its own: a signal mask of the main thread would hold nothing back. So
    a handler that only remembers takes the place of the usual one for the length of the block; it
    is called again after it. Other threads are never interrupted, and need nothing.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is None  # set outside Python: it could not come back
    ):
        yield
        return
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            signal.raise_signal(signal.SIGINT)
