"""Result tables inside a page that people write, between markers that the report fills.

    <!-- table:table_8 -->
    ... this is replaced ...
    <!-- end -->

A name is that of an exhibit, such as "table_8" or "claims", "findings" (a list), or
"tradeoff_cifar10", the part of "tradeoff" on one data set. No number between the markers is typed
by hand.
"""

import dataclasses
import re

from ft_tf.errors import ArgumentError
from ft_tf.report import display_names, exhibits, table
from ft_tf.report.tidy import Study

_START = re.compile(r"^<!-- table:(?P<name>\S+) -->$")
_END = "<!-- end -->"
FINDINGS = "findings"
_TRADEOFF = {f"tradeoff_{name}": name for name in display_names.DATASETS}


def filled(page: str, study: Study, *, base: str) -> str:
    """Returns the page with every marked block built again from the records.

    Args:
        page: its text.
        study: the records.
        base: path of the report's directory as links of the page have it.

    Raises:
        ArgumentError: a marker names nothing that the report has, or has no end.
    """
    lines: list[str] = []
    open_name = ""
    for line in page.split("\n"):
        start = _START.match(line)
        if start and open_name:
            raise ArgumentError(f"marker table:{open_name} has no {_END!r} before the next one")
        if start:
            open_name = start["name"]
            lines += [line, block(open_name, study, base=base)]
        elif line == _END:
            open_name = ""
            lines.append(line)
        elif not open_name:
            lines.append(line)
    if open_name:
        raise ArgumentError(f"marker table:{open_name} has no {_END!r}")
    return "\n".join(lines)


def block(name: str, study: Study, *, base: str) -> str:
    """Returns the text between the markers of a name.

    Raises:
        ArgumentError: the report has nothing of that name.
    """
    known = {e.name: e for e in exhibits.of_study(study)}
    if name == FINDINGS:
        texts = known[FINDINGS].frame(study)["finding"]
        return "\n".join(f"- {table.escape_markdown(text)}" for text in texts)
    known = {name: e for name, e in known.items() if e.columns or e.kind == "layers"}
    exhibit = known.get("tradeoff" if name in _TRADEOFF else name)
    if exhibit is None:
        names = ", ".join((FINDINGS, *_TRADEOFF, *known))
        raise ArgumentError(f"marker table:{name} is not in the report; it has {names}")
    whole = exhibit.table(study)
    if name in _TRADEOFF:
        start = f"data: {_TRADEOFF[name]}, "
        rows = tuple(row for row in whole.rows if row.detail.startswith(start))
        whole = dataclasses.replace(whole, rows=rows)
    brief = whole.brief()
    text = "More of each claim" if name == "claims" else "Configuration of each row"
    link = f"[{text}]({base}/tables/{exhibit.name}.md)"
    left_out = len(whole.rows) - len(brief.rows)
    if left_out:
        link += f"; {left_out} {'row has' if left_out == 1 else 'rows have'} no finished run"
    if exhibit.opens:  # the notes of claims are long
        brief = dataclasses.replace(brief, notes=())
    body = table.markdown(brief, has_details=False) if brief.rows else f"{table.EMPTY} "
    return f"{body}{link}."
