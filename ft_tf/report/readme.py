"""Result tables inside a page that people write, between markers that the report fills.

    <!-- table:table_8 -->
    ... whatever stands here is replaced ...
    <!-- end -->

A name is that of a section of the report, such as "table_8", "claims" or "membership";
"tradeoff_cifar10", the part of section "tradeoff" on one data set; or "summary", the verdict's
line. No number between the markers is typed by hand.
"""

import re
from collections.abc import Iterable

from ft_tf.errors import ArgumentError
from ft_tf.records import Record
from ft_tf.report import paper, render, tables, tradeoff, views
from ft_tf.report.document import names_of, section
from ft_tf.report.verdict import summary_line

SUMMARY = "summary"
_ON_DATA = {f"tradeoff_{name}": name for name in ("fashion_mnist", "cifar10")}
_START = re.compile(r"^<!-- table:(?P<name>\S+) -->$")
_END = "<!-- end -->"


def filled(text: str, records: Iterable[Record], *, base: str) -> str:
    """The page with every marked block built anew from the records.

    Args:
        text: the page.
        records: any records.
        base: path of the report's directory as links of the page have it.

    Raises:
        ArgumentError: a marker names nothing that the report has, or has no end.
    """
    records = list(records)
    lines: list[str] = []
    open_name = ""
    for line in text.split("\n"):
        start = _START.match(line)
        if start and open_name:
            raise ArgumentError(f"marker table:{open_name} has no {_END!r} before the next one")
        if start:
            open_name = start["name"]
            lines += [line, block(open_name, records, base=base)]
        elif line == _END:
            open_name = ""
            lines.append(line)
        elif not open_name:
            lines.append(line)
    if open_name:
        raise ArgumentError(f"marker table:{open_name} has no {_END!r}")
    return "\n".join(lines)


def block(name: str, records: list[Record], *, base: str) -> str:
    """What stands between the markers of a name.

    Raises:
        ArgumentError: the report has nothing of that name.
    """
    if name == SUMMARY:
        return f"{summary_line(records)} ({len(records)} records.)"
    view, page = _view(name, records)
    link = f"[What was run in each row]({base}/tables/{page}.md)"
    if name in tables.ACCURACY_EXHIBITS:
        left_out = len(tables.accuracy_frame(records, name)) - len(view.rows)
        rows = "row has" if left_out == 1 else "rows have"
        link += f"; {left_out} {rows} no finished run" if left_out else ""
    if not view.rows:
        return f"{render.EMPTY} {link}."
    return f"{render.markdown(view, has_details=False)}{link}."


def _view(name: str, records: list[Record]) -> tuple[views.View, str]:
    """What a marker names, and the page of the report that has it in full."""
    if name in _ON_DATA:
        frame = tradeoff.group_frame(records)
        return views.tradeoff(
            frame[frame["data"].str.startswith(f"{_ON_DATA[name]}, ")]
        ), "tradeoff"
    if name in tables.ACCURACY_EXHIBITS:
        frame = tables.accuracy_frame(records, name)
        return views.accuracy_brief(frame, title=paper.EXHIBITS[name].title), name
    known = names_of(records)
    if name not in known:
        raise ArgumentError(
            f"marker table:{name} is not in the report; it has "
            f"{', '.join((SUMMARY, *_ON_DATA, *known))}"
        )
    return section(records, name).view, name


def outside(text: str, heading: str) -> str:
    """What people wrote in one section of the page: its text without the marked blocks.

    Args:
        text: the page.
        heading: the section's heading, such as "## Results"; it ends at the next of its level.
    """
    level = heading.split(" ")[0]
    kept: list[str] = []
    inside = is_open = False
    for line in text.split("\n"):
        if line.startswith(f"{level} "):
            inside = line == heading
        elif inside and _START.match(line):
            is_open = True
        elif line == _END:
            is_open = False
        elif inside and not is_open:
            kept.append(line)
    return "\n".join(kept)
