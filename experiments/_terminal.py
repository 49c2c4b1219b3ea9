"""What the binaries print: colour and width for a terminal, plain text for everything else."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

from ft_tf.errors import printable

_STYLES = {
    "error": "1;31", "warning": "33", "supported": "32", "replicated": "32", "contradicted": "31",
    "not replicated": "31", "no difference": "36", "mixed": "33", "inconclusive": "2",
}  # fmt: skip
_WIDTH_IN_A_PIPE = 100


def occupy_closed() -> None:
    """Opens /dev/null in place of closed standard streams (`2>&-`).

    Otherwise the next files that are opened get their numbers, and with them what libraries print.
    `sys.stdout` stays None: `_app.run` refuses that.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115 (for the whole process)


def has_colour(stream: TextIO) -> bool:
    """Whether colour may be written: to a terminal, unless NO_COLOR is set or TERM is dumb."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def styled(text: str, style: str, *, stream: TextIO | None = None) -> str:
    """`text` in the colour of "error" or "warning" where the stream shows colours."""
    if not has_colour(stream or sys.stdout):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def coloured(text: str) -> str:
    """Outcomes such as "supported" in their colours, where they end a line of a table."""
    words = "|".join(sorted(_STYLES, key=len, reverse=True))
    return re.sub(rf"(?<=  )({words})$", lambda m: styled(m[1], m[1]), text, flags=re.MULTILINE)


def width() -> int:
    """Columns of a table: COLUMNS, or those of the terminal, or 100 where there is none."""
    return shutil.get_terminal_size((_WIDTH_IN_A_PIPE, 24)).columns


def wrapped(text: str) -> str:
    """Lines broken at the terminal's width; in a pipe they stay whole unless COLUMNS is set.

    Words are not broken, so that flags, commands and paths can be copied.
    """
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS")):
        return text
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line,
            max(width(), 40),
            subsequent_indent=indent + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]], *, left: int = 0) -> list[str]:
    """Lines of a table whose first `left` columns are flush left, the others flush right.

    >>> aligned([("layer", "lost"), ("conv", "3.1%"), ("dense_1", "12.0%")], left=1)
    ['layer     lost', 'conv      3.1%', 'dense_1  12.0%']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def show(text: str) -> None:
    """Prints lines at once, broken as `wrapped` breaks them; names in them may hold anything."""
    print(wrapped("\n".join(map(printable, text.split("\n")))), flush=True)
