"""Result tables inside a page that people write, between markers that the report fills.

    <!-- table:table_8 -->
    ... this is replaced ...
    <!-- end -->

A name is that of an exhibit, such as "table_8" or "claims", or "findings" (a list). No number
between the markers is typed by hand.
"""

import dataclasses
import re

from ft_tf.errors import ArgumentError
from ft_tf.report import exhibits, rendering
from ft_tf.report.tidy import Study

_START = re.compile(r"^<!-- table:(\S+) -->$", re.MULTILINE)
_END = "<!-- end -->"
FINDINGS = "findings"


def filled(page: str, study: Study, *, base: str) -> str:
    """Returns the page with every marked block built again from the records.

    `base` is the path of the report's directory as links of the page have it.

    Raises:
        ArgumentError: a marker names nothing that the report has, or has no end.
    """
    text, *marked = _START.split(page)
    for name, rest in zip(marked[::2], marked[1::2], strict=True):
        _, end, after = rest.partition(f"\n{_END}")
        if not end:
            raise ArgumentError(f"marker table:{name} has no {_END!r} before the next one")
        text += f"<!-- table:{name} -->\n{block(name, study, base=base)}{end}{after}"
    return text


def block(name: str, study: Study, *, base: str) -> str:
    """Returns the text between the markers of a name.

    Raises:
        ArgumentError: the report has nothing of that name.
    """
    found = {exhibit.name: exhibit for exhibit in exhibits.of_study(study)}
    if name == FINDINGS:
        template = rendering.environment().get_template("findings.md.j2")
        return template.render(findings=found[FINDINGS].frame(study)["finding"]).rstrip()
    exhibit = found.get(name)
    whole = exhibit.table(study) if exhibit else None
    if whole is None:
        raise ArgumentError(f"marker table:{name} is not in the report; it has {', '.join(found)}")
    brief = whole.brief()
    if name == "claims":  # their notes are long
        brief = dataclasses.replace(brief, notes=())
    template = rendering.environment().get_template("block.md.j2")
    return template.render(
        name=name, table=brief, base=base, left_out=len(whole.rows) - len(brief.rows)
    )
