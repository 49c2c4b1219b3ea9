"""Tables: each column named once, and the same table as text, Markdown, CSV and LaTeX.

A cell without a value is "-". Markdown and LaTeX escape every text, since records may hold any.
"""

import dataclasses
import functools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

Line = Mapping[str, Any]
NOTHING = "-"
EMPTY = "Nothing on record yet."
RAN, FAILED, MISSING = "ran", "failed", "missing"
MIN_WIDTH = 40
_GAP, _INDENT = "  ", "    "


def is_missing(value: Any) -> bool:
    """Whether a cell of a frame holds nothing."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def text(value: Any) -> str:
    """A text cell; "" for a missing one."""
    return "" if is_missing(value) else str(value)


def percent(value: Any, *, signed: bool = False) -> str:
    """A fraction in percent with two decimals.

    >>> percent(0.0869), percent(-0.0012, signed=True), percent(None)
    ('8.69', '-0.12', '-')
    """
    if is_missing(value):
        return NOTHING
    return f"{100 * value:+.2f}" if signed else f"{100 * value:.2f}"


points = functools.partial(percent, signed=True)


def interval(low: Any, high: Any) -> str:
    """An interval of fractions in percent; "-" for one whose ends are reversed by mistake."""
    if is_missing(low) or is_missing(high) or low > high:
        return NOTHING
    return f"[{percent(low)}, {percent(high)}]"


def plus_minus(value: Any, low: Any, high: Any, *, signed: bool = False) -> str:
    """A fraction in percent with the half width of its interval, if that is known.

    Of an interval that was cut at 0 or 1 the longer side counts.

    >>> plus_minus(0.5, 0.45, 0.55), plus_minus(0.5, None, None)
    ('50.00 ±5.00', '50.00')
    """
    if is_missing(value) or is_missing(low) or is_missing(high):
        return percent(value, signed=signed)
    return f"{percent(value, signed=signed)} ±{percent(max(high - value, value - low))}"


signed_plus_minus = functools.partial(plus_minus, signed=True)


def number(value: Any, digits: int = 4) -> str:
    """A number with `digits` significant digits.

    >>> number(0.0123456), number(2298765.0), number(None)
    ('0.01235', '2.299e+06', '-')
    """
    return NOTHING if is_missing(value) else f"{value:.{digits}g}"


number_2, number_3 = (functools.partial(number, digits=digits) for digits in (2, 3))


def count(value: Any) -> str:
    """A whole number."""
    return NOTHING if is_missing(value) else f"{int(value):,}"


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: column of the frame, or several where a cell is made from several, as an interval is.
        header: its name for people.
        group: what it and its neighbours have in common, such as "paper".
        format: makes the cell's text from the values of `key`.
        priority: 0 is always shown; of the others the greatest is dropped first in a narrow terminal.
        is_text: aligned to the left; so is every column whose format is `text`.
    """

    key: str | tuple[str, ...]
    header: str
    group: str = ""
    format: Callable[..., str] = percent
    priority: int = 0
    is_text: bool = False

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


@dataclasses.dataclass(frozen=True)
class Row:
    """A formatted line.

    Attributes:
        cells: texts, the first of which names the row.
        detail: configuration and provenance as text; "" for none.
        state: RAN, FAILED or MISSING.
        records: names of the records behind it.
    """

    cells: tuple[str, ...]
    detail: str
    state: str
    records: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """A formatted table.

    Attributes:
        title: heading.
        columns: the first names the rows.
        rows: formatted lines.
        notes: sentences below the table.
        detail_header: heading of the details where they make a column.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    detail_header: str = "configuration"


def make_table(
    frame: pd.DataFrame,
    columns: Sequence[Column],
    *,
    title: str,
    detail: Callable[[Line], str] = lambda line: "",
    notes: Sequence[str] = (),
    detail_header: str = "configuration",
) -> Table:
    """Formats a frame.

    Args:
        frame: a line per row; its column "records", if any, holds names with blanks between.
        columns: see `Column`.
        title: heading.
        detail: makes the configuration and provenance of a line.
        notes: sentences below the table.
        detail_header: heading of the details where they make a column.
    """
    rows = tuple(
        Row(
            cells=tuple(column.cell(line) for column in columns),
            detail=detail(line),
            state=_state(line),
            records=tuple(text(line.get("records")).split()),
        )
        for line in frame.to_dict("records")
    )
    return Table(title, tuple(columns), rows, tuple(notes), detail_header)


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
    """Text that Markdown shows as it is, on one line: no markup, no HTML, no link.

    >>> print(escape_markdown("a|b <script> *c* [d](e)"))
    a\\|b &lt;script&gt; \\*c\\* [d\\](e)
    """
    return " ".join(value.translate(_MARKDOWN).replace("](", "\\](").split())


def markdown(table: Table, *, has_details: bool = True) -> str:
    """A Markdown table, its notes, and, if asked for, the details as its last column."""
    if not table.rows:
        return f"{EMPTY}\n"
    lines = [
        [escape_markdown(column.full_header) for column in table.columns],
        ["---:" if column.is_number else "---" for column in table.columns],
        *([escape_markdown(cell) for cell in row.cells] for row in table.rows),
    ]
    if has_details:
        last = [table.detail_header, "---", *(escape_markdown(row.detail) for row in table.rows)]
        lines = [[*line, cell] for line, cell in zip(lines, last, strict=True)]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([body, *map(escape_markdown, table.notes)]) + "\n"


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
    return "".join(_LATEX.get(mark, mark) for mark in " ".join(value.split()))


def latex(table: Table, *, command: str) -> str:
    """A LaTeX table (booktabs) with the title and notes as its caption.

    Args:
        table: any table.
        command: the command that makes it, for a comment above.
    """
    alignment = "".join("r" if column.is_number else "l" for column in table.columns)
    lines = [
        " & ".join(
            f"\\multicolumn{{{size}}}{{c}}{{{escape_latex(group)}}}" for group, size in spans
        )
        for spans in [group_spans(table.columns)]
        if any(group for group, _ in spans)
    ]
    lines.append(" & ".join(escape_latex(column.header) for column in table.columns))
    body = [" & ".join(map(escape_latex, row.cells)) for row in table.rows]
    ends = [f"{line} \\\\" for line in (*lines, *body)]
    caption = " ".join(escape_latex(part) for part in (f"{table.title}.", *table.notes))
    return "\n".join(
        [
            f"% {' '.join(command.split())}",
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{caption}}}",
            f"\\begin{{tabular}}{{{alignment}}}",
            "\\toprule",
            *ends[: len(lines)],
            "\\midrule",
            *ends[len(lines) :],
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
            "",
        ]
    )


def group_spans(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Returns (group, number of columns) of neighbouring columns with one group."""
    spans: list[tuple[str, int]] = []
    for column in columns:
        if spans and column.group and spans[-1][0] == column.group:
            spans[-1] = (column.group, spans[-1][1] + 1)
        else:
            spans.append((column.group, 1))
    return spans


def terminal(table: Table, *, width: int) -> str:
    """Aligned text no wider than `width` columns; columns of low priority are dropped first.

    Each row is followed by its details, wrapped and indented, and by the cells of the columns that
    were dropped. Where not even the columns of priority 0 fit, the name of a row is on a separate
    line. The notes are left to the caller, which prints those of several tables once.
    """
    width = max(width, MIN_WIDTH)
    lines = [*_wrap(table.title, width), "=" * min(len(table.title), width)]
    if not table.rows:
        return "\n".join([*lines, EMPTY, ""])
    shown = list(range(len(table.columns)))
    while _total(widths := _widths(table, shown)) > width:
        least = max(table.columns[place].priority for place in shown)
        if not least:
            break
        shown = [place for place in shown if table.columns[place].priority < least]
    dropped = [place for place in range(len(table.columns)) if place not in shown]
    has_name_line = _total(widths) > width
    if has_name_line:
        shown = shown[1:]
        widths = _widths(table, shown)
    lines += [*_head([table.columns[place] for place in shown], widths)]
    lines.append("-" * min(width, _total(widths)))
    for row in table.rows:
        lines += _wrap(row.cells[0], width) if has_name_line else []
        lines.append(_join(table, shown, widths, row.cells))
        further = [
            f"{table.columns[place].full_header}: {row.cells[place]}"
            for place in dropped
            if row.cells[place] != NOTHING
        ]
        lines += _wrap("; ".join(filter(None, [row.detail, *further])), width, _INDENT)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def wrapped(value: str, *, width: int) -> str:
    """A paragraph no wider than `width` columns, with a newline at its end."""
    return "\n".join(_wrap(value, max(width, MIN_WIDTH))) + "\n"


def _wrap(value: str, width: int, indent: str = "") -> list[str]:
    # Commands, flags and names of sources stay in one piece, so that they can be copied.
    return textwrap.wrap(
        value, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _widths(table: Table, shown: Sequence[int]) -> list[int]:
    widths = [
        max(len(table.columns[place].header), *(len(row.cells[place]) for row in table.rows))
        for place in shown
    ]
    start = 0
    for group, size in group_spans([table.columns[place] for place in shown]):
        missing = len(group) - _total(widths[start : start + size])
        start += size
        widths[start - 1] += max(missing, 0)
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _head(columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    names = _GAP.join(_pad(c, c.header, room) for c, room in zip(columns, widths, strict=True))
    if not any(column.group for column in columns):
        return [names]
    groups, start = [], 0
    for group, size in group_spans(columns):
        room = _total(widths[start : start + size])
        groups.append(f" {group} ".center(room, "-") if size > 1 else group.rjust(room))
        start += size
    return [_GAP.join(groups), names]


def _join(table: Table, shown: Sequence[int], widths: Sequence[int], cells: Sequence[str]) -> str:
    return _GAP.join(
        _pad(table.columns[place], cells[place], room)
        for place, room in zip(shown, widths, strict=True)
    )


def _pad(column: Column, cell: str, room: int) -> str:
    return cell.rjust(room) if column.is_number else cell.ljust(room)
