"""Tables: each column named once, and the same table as text, Markdown, CSV and LaTeX.

A cell without a value is "-". Records may hold any text: Markdown and LaTeX escape it, and no form
has the characters that steer a terminal.
"""

import dataclasses
import functools
import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from ft_tf.errors import printable
from ft_tf.report import display_names
from ft_tf.study.algorithms.dpsgd import epsilon_text

Line = Mapping[str, Any]
NOTHING = "-"
EMPTY = "Nothing on record yet."
RAN, FAILED, MISSING = "ran", "failed", "missing"
MIN_WIDTH = 40
_GAP, _INDENT = "  ", "    "
_LARGEST, _LARGEST_EPSILON = 10.0, 1e6


def is_missing(value: Any) -> bool:
    """Whether a cell of a frame holds nothing."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def text(value: Any) -> str:
    """A text cell; "" for a missing one."""
    return "" if is_missing(value) else str(value)


def percent(value: Any, *, signed: bool = False) -> str:
    """A fraction in percent with two decimals; "-" and the reason for more than 1000.

    >>> percent(0.0869), percent(-0.0012, signed=True), percent(None)
    ('8.69', '-0.12', '-')
    """
    if is_missing(value) or abs(value) > _LARGEST:
        return NOTHING if is_missing(value) else f"{NOTHING} (beyond 1000)"
    return f"{100 * value:+.2f}" if signed else f"{100 * value:.2f}"


points = functools.partial(percent, signed=True)


def interval(low: Any, high: Any) -> str:
    """An interval of fractions in percent; "-" for one whose ends are reversed by mistake."""
    if is_missing(low) or is_missing(high) or low > high:
        return NOTHING
    return f"[{percent(low)}, {percent(high)}]"


def plus_minus(value: Any, low: Any, high: Any) -> str:
    """A fraction in percent with the half width of its interval, if that is known.

    Of an interval that was cut at 0 or 1 the longer side counts.

    >>> plus_minus(0.5, 0.45, 0.55), plus_minus(0.5, None, None)
    ('50.00 ±5.00', '50.00')
    """
    if is_missing(value) or is_missing(low) or is_missing(high):
        return percent(value)
    return f"{percent(value)} ±{percent(max(high - value, value - low))}"


def number(value: Any, digits: int = 4) -> str:
    """A number with `digits` significant digits.

    >>> number(0.0123456), number(2298765.0), number(None)
    ('0.01235', '2.299e+06', '-')
    """
    return NOTHING if is_missing(value) else f"{value:.{digits}g}"


def two_decimals(value: Any) -> str:
    """A number that is in points or percent already."""
    return NOTHING if is_missing(value) else f"{value:.2f}"


number_2, number_3 = (functools.partial(number, digits=digits) for digits in (2, 3))


def radius(value: Any) -> str:
    """The radius of an attack, as a multiple of 1/255 where it is one."""
    return NOTHING if is_missing(value) else display_names.radius(value)


def epsilon(value: Any) -> str:
    """An epsilon that holds; "-" for one that says nothing.

    >>> epsilon(2.3504), epsilon(18615.2), epsilon(3.2e14), epsilon(None)
    ('2.35', '18,615', '- (beyond 1e6)', '-')
    """
    if is_missing(value) or value > _LARGEST_EPSILON:
        return NOTHING if is_missing(value) else f"{NOTHING} (beyond 1e6)"
    return epsilon_text(value)


def count(value: Any) -> str:
    """A whole number."""
    return NOTHING if is_missing(value) else f"{int(value):,}"


MARKS = {
    "supported": "🟢", "replicated": "🟢", "contradicted": "🔴", "not replicated": "🔴",
    "no difference": "🔵", "mixed": "🟠", "inconclusive": "⚪", "not attempted": "⚪",
}  # fmt: skip
"""Words of outcomes, with the color that Markdown gives them."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table, or a part of the details below each row."""

    key: str | tuple[str, ...]  # of the frame; several where a cell is made from several
    header: str  # its name for people
    group: str = ""  # what it and its neighbours have in common, such as "paper"
    format: Callable[..., str] = percent  # makes the cell's text from the values of `key`
    # 0 is always shown; of the others the greatest is dropped first where room is scarce. The
    # README shows columns below `BRIEF`.
    priority: int = 0
    is_text: bool = False  # aligned to the left; so is every column whose format is `text`
    is_word: bool = False  # its cells are words of `MARKS`, which have colors

    @property
    def is_number(self) -> bool:
        """Whether its cells are aligned to the right."""
        return not self.is_text and self.format is not text

    @property
    def full_header(self) -> str:
        """Group and header, for tables with one line of headers."""
        return f"{self.group} {self.header}".strip()

    def cell(self, line: Line) -> str:
        """Text of the column's cell in a line of the frame."""
        keys = (self.key,) if isinstance(self.key, str) else self.key
        return self.format(*(line.get(key) for key in keys))


BRIEF = 2


@dataclasses.dataclass(frozen=True)
class Row:
    """A formatted line: cells, details in one text, RAN, FAILED or MISSING, names of records."""

    cells: tuple[str, ...]
    detail: str
    state: str
    records: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """A formatted table; its first column names the rows."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def where(self, keeps: Callable[[tuple[str, ...]], bool]) -> "Table":
        """The rows whose cells `keeps` returns True for."""
        return dataclasses.replace(self, rows=tuple(row for row in self.rows if keeps(row.cells)))

    def brief(self, least: int = BRIEF) -> "Table":
        """The rows that have runs, without details and columns of priority `least` or more."""
        shown = [n for n, column in enumerate(self.columns) if column.priority < least]
        rows = tuple(
            dataclasses.replace(row, cells=tuple(row.cells[n] for n in shown), detail="")
            for row in self.rows
            if row.state != MISSING
        )
        return Table(self.title, tuple(self.columns[n] for n in shown), rows, self.notes)


def make_table(
    frame: pd.DataFrame,
    columns: Sequence[Column],
    title: str,
    details: Sequence[Column] = (),
    notes: Sequence[str] = (),
) -> Table:
    """Formats a frame with a line per row; "records", if any, holds names with blanks between.

    Below each row are its `details`, as "header: cell; header: cell", below all rows the `notes`.
    """
    rows = []
    for line in frame.to_dict("records"):
        cells = tuple(column.cell(line) for column in columns)
        detail = _described(details, [column.cell(line) for column in details])
        rows.append(Row(cells, detail, _state(line), tuple(text(line.get("records")).split())))
    return Table(title, tuple(columns), tuple(rows), tuple(notes) if rows else ())


def _described(columns: Sequence[Column], cells: Sequence[str]) -> str:
    """Cells with their headers on one line; those that hold nothing are left out."""
    return "; ".join(
        f"{column.full_header}: {cell}" if column.header else cell
        for column, cell in zip(columns, cells, strict=True)
        if cell not in ("", NOTHING)
    )


def _state(line: Line) -> str:
    if text(line.get("failures")):
        return FAILED
    return MISSING if line.get("replicates") == 0 else RAN


def csv(frame: pd.DataFrame) -> str:
    """CSV with ten significant digits: all that an accuracy holds, and the same on any machine."""
    return frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")


_MARKDOWN = str.maketrans(
    {**{mark: f"\\{mark}" for mark in "\\|*`"}, "&": "&amp;", "<": "&lt;", ">": "&gt;"}
)


def escape_markdown(value: str) -> str:
    r"""Text that Markdown shows as it is, on one line: no markup, no HTML, no link.

    >>> print(escape_markdown("a|b <script> *c* [d](e)"))
    a\|b &lt;script&gt; \*c\* [d\](e)
    """
    return " ".join(printable(value).translate(_MARKDOWN).replace("](", "\\](").split())


def markdown(table: Table, *, has_details: bool = True) -> str:
    """A Markdown table, its notes, and, if asked for, the details as its last column."""
    if not table.rows:
        return f"{EMPTY}\n"
    lines = [
        [escape_markdown(column.full_header) for column in table.columns],
        ["---:" if column.is_number else "---" for column in table.columns],
        *(list(map(_marked, table.columns, row.cells)) for row in table.rows),
    ]
    if has_details:
        last = ["details", "---", *(escape_markdown(row.detail) for row in table.rows)]
        lines = [[*line, cell] for line, cell in zip(lines, last, strict=True)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([body, *map(escape_markdown, table.notes)]) + "\n"


def _marked(column: Column, cell: str) -> str:
    mark = MARKS.get(cell) if column.is_word else None
    return f"{mark} {cell}" if mark else escape_markdown(cell)


_LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
}


def escape_latex(value: str) -> str:
    r"""Text that LaTeX prints as it is, on one line.

    >>> escape_latex("50% of x_1 ±2")
    '50\\% of x\\_1 $\\pm$2'
    """
    return "".join(_LATEX.get(mark, mark) for mark in " ".join(printable(value).split()))


def group_spans(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Returns (group, number of columns) of neighbouring columns with one group."""
    # Columns without a group stand alone: each has a key of its own.
    keys = [column.group or place for place, column in enumerate(columns)]
    spans = ((key, len(list(same))) for key, same in itertools.groupby(keys))
    return [(key if isinstance(key, str) else "", size) for key, size in spans]


def terminal(table: Table, *, width: int) -> str:
    """Aligned text no wider than `width` columns; columns of low priority are dropped first.

    Each row is followed by its details and by the cells of dropped columns, wrapped and indented.
    Where not even the columns of priority 0 fit, the name of a row is on a separate line. The notes
    are left to the caller, which prints those of several tables once.
    """
    width = max(width, MIN_WIDTH)
    lines = [*_wrap(table.title, width), "=" * min(len(table.title), width)]
    if not table.rows:
        return "\n".join([*lines, EMPTY, ""])
    heads = [
        [printable(c.group) for c in table.columns],
        [printable(c.header) for c in table.columns],
    ]
    body = [[printable(cell) for cell in row.cells] for row in table.rows]
    columns = zip(*heads, *body, strict=True)
    rooms = [max(map(len, column)) for column in columns]
    shown = list(range(len(rooms)))

    def total() -> int:
        return sum(rooms[n] + len(_GAP) for n in shown) - len(_GAP)

    while total() > width and (least := max(table.columns[n].priority for n in shown)):
        shown = [n for n in shown if table.columns[n].priority < least]
    dropped = [n for n in range(len(rooms)) if n not in shown]
    has_name_line = total() > width
    shown = shown[has_name_line:]

    def join(cells: Sequence[str]) -> str:
        sides = [">" if column.is_number else "<" for column in table.columns]
        return _GAP.join(f"{cells[n]:{sides[n]}{rooms[n]}}" for n in shown).rstrip()

    lines += [head for head in map(join, heads) if head]
    lines.append("-" * min(width, total()))
    for row, cells in zip(table.rows, body, strict=True):
        lines += _wrap(cells[0], width) if has_name_line else []
        lines.append(join(cells))
        further = _described([table.columns[n] for n in dropped], [cells[n] for n in dropped])
        lines += _wrap("; ".join(filter(None, [row.detail, further])), width, _INDENT, _INDENT)
    return "\n".join(lines) + "\n"


def wrapped(value: str, *, width: int, indent: str = "") -> str:
    """A paragraph no wider than `width` columns; all lines but the first are indented."""
    return "\n".join(_wrap(value, max(width, MIN_WIDTH), "", indent)) + "\n"


def _wrap(value: str, width: int, first: str = "", others: str = "") -> list[str]:
    # Commands, flags and names of sources stay in one piece, so that they can be copied.
    indents = {"initial_indent": first, "subsequent_indent": others}
    return textwrap.wrap(printable(value), width, break_on_hyphens=False, **indents)
