"""One bisection, shared by every search for the edge of a monotone condition."""

from collections.abc import Callable


def bisect(
    holds: Callable[[float], bool], *, fails_at: float, holds_at: float, tolerance: float
) -> float:
    """Returns the point nearest to the edge at which a monotone condition is known to hold.

    Args:
        holds: the condition; it is false at `fails_at`, true at `holds_at`, and changes once.
        fails_at: one end of the bracket.
        holds_at: the other end, on either side.
        tolerance: largest distance between the answer and a point where the condition fails.

    >>> round(bisect(lambda x: x * x >= 2, fails_at=0, holds_at=2, tolerance=1e-9), 6)
    1.414214
    """
    while abs(holds_at - fails_at) > tolerance:
        middle = (fails_at + holds_at) / 2
        if middle in (fails_at, holds_at):  # the floats between the two are used up
            break
        if holds(middle):
            holds_at = middle
        else:
            fails_at = middle
    return holds_at
