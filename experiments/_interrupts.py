"""Ctrl-C and SIGTERM, which are handled alike: while a binary imports, and while it works.

While it imports, an exception would not do: imports of compiled modules turn KeyboardInterrupt into
errors of their own, and TensorFlow's messages, hence stderr, are held back meanwhile.

While it works, the exception can arise in a finaliser or below compiled code, which print and drop
it: it is raised again until it arrives. A library may also raise another in its place.
"""

import atexit
import os
import signal
import sys
from types import FrameType
from typing import Any

_SECONDS = 0.5  # until a dropped KeyboardInterrupt is raised again
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
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # an alarm would end the end


def _raise(number: int, frame: FrameType | None) -> None:
    sys.excepthook, sys.unraisablehook = _print_exception, _print_unraisable

    def again(alarm: int, frame: FrameType | None) -> None:
        if cause(sys.exc_info()[1]) is None:  # no except, finally or with is at work on it
            signal.raise_signal(number)

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS, _SECONDS)
    raise KeyboardInterrupt(number)


def cause(error: BaseException | None) -> KeyboardInterrupt | None:
    """The interrupt that led to an exception; None without."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


def _print_exception(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if not isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


def _print_unraisable(unraisable: Any) -> None:
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def code(error: KeyboardInterrupt) -> int:
    """The exit code after an interrupt that has arrived: 130 after Ctrl-C, 143 after SIGTERM."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    return 128 + (error.args[0] if error.args else signal.SIGINT)
