"""Result tables inside a page that people write, between markers that the report fills.

    <!-- table:table_8 -->
    ... this is replaced ...
    <!-- end -->

A name is that of an exhibit, such as "table_8" or "membership", or "tradeoff_cifar10", the part of
"tradeoff" on one data set. No number between the markers is typed by hand.
"""

import re

from ft_tf.errors import ArgumentError
from ft_tf.report import display_names, exhibits, table
from ft_tf.report.tidy import Study

_START = re.compile(r"^<!-- table:(?P<name>\S+) -->$")
_END = "<!-- end -->"
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
    is_part = name in _TRADEOFF
    known = {exhibit.name: exhibit for exhibit in exhibits.of_study(study)}
    exhibit = known.get("tradeoff" if is_part else name)
    if exhibit is None:
        raise ArgumentError(
            f"marker table:{name} is not in the report; it has {', '.join((*_TRADEOFF, *known))}"
        )
    link = f"[Configuration of each row]({base}/tables/{exhibit.name}.md)"
    if is_part:
        found = exhibit.of_dataset(study, _TRADEOFF[name])
    elif hasattr(exhibit, "brief"):
        found = exhibit.brief(study)
        left_out = len(exhibit.frame(study)) - len(found.rows)
        rows = "row has" if left_out == 1 else "rows have"
        link += f"; {left_out} {rows} no finished run" if left_out else ""
    else:
        found = exhibit.table(study)
    if not found.rows:
        return f"{table.EMPTY} {link}."
    return f"{table.markdown(found, has_details=False)}{link}."
