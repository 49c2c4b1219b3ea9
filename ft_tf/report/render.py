"""Views and frames as text: CSV, Markdown and aligned terminal tables; the same bytes each time."""

import textwrap

import pandas as pd

from ft_tf.report.views import NOTHING, Column, View

_GAP = "  "
_INDENT = "    "
MIN_WIDTH = 40
EMPTY = "Nothing on record yet."


def csv_text(frame: pd.DataFrame) -> str:
    """CSV with ten significant digits: all that an accuracy holds, and the same on any machine."""
    return frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def _header(column: Column) -> str:
    return f"{column.group} {column.header}".strip()


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is, on one line."""
    for mark in ("\\", "|", "*", "<"):
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def markdown(view: View, *, has_details: bool = True) -> str:
    """A Markdown table, the notes below, and, if asked for, the details as its last column.

    A table without rows is a sentence that says so.
    """
    if not view.rows:
        return f"{EMPTY}\n"
    headers = [escaped(_header(column)) for column in view.columns]
    rule = ["---:" if column.is_number else "---" for column in view.columns]
    rows = [[escaped(cell) for cell in cells] for cells in view.rows]
    if has_details:
        headers, rule = [*headers, view.detail_name], [*rule, "---"]
        rows = [[*row, escaped(text)] for row, text in zip(rows, view.details, strict=True)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in (headers, rule, *rows))
    return "\n\n".join([table, *(escaped(note) for note in view.notes)]) + "\n"


def terminal(view: View, *, width: int) -> str:
    """Aligned text no wider than `width` columns; columns that matter less go first.

    Each row is followed by what was run and reduced, wrapped and indented; the cells of columns
    that were left out follow there. Where even the columns that are always shown do not fit, the
    name of the row stands on a line of its own. The notes of the view are left to the caller.
    """
    width = max(width, MIN_WIDTH)
    shown = list(range(len(view.columns)))
    left_out: list[int] = []
    while _total(view, shown) > width:
        least = max(view.columns[index].priority for index in shown)
        if not least:
            break
        left_out += [index for index in shown if view.columns[index].priority == least]
        shown = [index for index in shown if view.columns[index].priority < least]
    name_apart = _total(view, shown) > width
    if name_apart:
        shown = shown[1:]
    lines = [*_lines(view.title, width), "=" * min(len(view.title), width)]
    if not view.rows:
        return "\n".join([*lines, EMPTY, ""])
    widths = _widths(view, shown)
    lines += _head(view, shown, widths)
    lines.append("-" * min(width, sum(widths) + len(_GAP) * (len(widths) - 1)))
    for cells, detail in zip(view.rows, view.details, strict=True):
        if name_apart:
            lines += _lines(cells[0], width)
        lines.append(_joined(view, shown, widths, cells))
        further = [
            f"{_header(view.columns[index])}: {cells[index]}"
            for index in sorted(left_out)
            if cells[index] != NOTHING
        ]
        lines += _wrapped("; ".join(filter(None, [detail, *further])), width)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def wrapped(text: str, *, width: int) -> str:
    """A paragraph no wider than `width` columns, with its newline."""
    return "\n".join(_lines(text, max(width, MIN_WIDTH))) + "\n"


def _lines(text: str, width: int, indent: str = "") -> list[str]:
    # Commands, flags and names of sources stay in one piece, so that they can be copied.
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _wrapped(text: str, width: int) -> list[str]:
    return _lines(text, width, _INDENT)


def _widths(view: View, shown: list[int]) -> list[int]:
    widths = [
        max(len(view.columns[index].header), *(len(cells[index]) for cells in view.rows))
        for index in shown
    ]
    for start, end, group in _spans(view, shown):  # a group's name needs room over its columns
        missing = len(group) - sum(widths[start:end]) - len(_GAP) * (end - start - 1)
        widths[end - 1] += max(missing, 0)
    return widths


def _total(view: View, shown: list[int]) -> int:
    if not view.rows:
        return 0
    return sum(_widths(view, shown)) + len(_GAP) * (len(shown) - 1)


def _spans(view: View, shown: list[int]) -> list[tuple[int, int, str]]:
    """Runs of neighbouring columns with one group, as (first, one past the last, group)."""
    spans: list[tuple[int, int, str]] = []
    for place, index in enumerate(shown):
        group = view.columns[index].group
        if spans and group and spans[-1][2] == group:
            spans[-1] = (spans[-1][0], place + 1, group)
        else:
            spans.append((place, place + 1, group))
    return spans


def _head(view: View, shown: list[int], widths: list[int]) -> list[str]:
    names = _joined(view, shown, widths, tuple(column.header for column in view.columns))
    if not any(view.columns[index].group for index in shown):
        return [names]
    groups = []
    for start, end, group in _spans(view, shown):
        room = sum(widths[start:end]) + len(_GAP) * (end - start - 1)
        groups.append(f" {group} ".center(room, "-") if end - start > 1 else group.rjust(room))
    return [_GAP.join(groups), names]


def _joined(view: View, shown: list[int], widths: list[int], cells: tuple[str, ...]) -> str:
    return _GAP.join(
        cells[index].rjust(room) if view.columns[index].is_number else cells[index].ljust(room)
        for index, room in zip(shown, widths, strict=True)
    )
