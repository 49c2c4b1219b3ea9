"""Templates of the report: pages, and the sentences below tables."""

import re
from typing import Any

import jinja2

from ft_tf.data.circles import PAPER_N_TEST
from ft_tf.report import table
from ft_tf.report.replicates import LEAST
from ft_tf.report.table import Table

LOADER = jinja2.PackageLoader("ft_tf.report")


def headline(finding: str) -> tuple[str, str]:
    """Returns what a finding says up to its first colon or full stop, and the rest.

    >>> headline("Noise costs 2.5 points: more than clipping. It adds up.")
    ('Noise costs 2.5 points:', 'more than clipping. It adds up.')
    """
    first, *rest = re.split(r"(?<=:) |(?<=\.) (?=[A-Z])", finding, maxsplit=1)
    return first, "".join(rest)


FILTERS = {
    "epsilon": table.epsilon,
    "escaped": table.escape_markdown,
    "headline": headline,
    "latex": table.escape_latex,
    "markdown": table.markdown,
    "spans": table.group_spans,
}


def environment(*, is_html: bool = False) -> jinja2.Environment:
    """Returns an environment for the templates; HTML escapes every text."""
    made = jinja2.Environment(
        loader=LOADER,
        autoescape=is_html,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= FILTERS
    made.globals["EMPTY"] = table.EMPTY
    return made


def notes(kind: str, **values: Any) -> list[str]:
    """Returns the sentences of templates/notes/KIND.j2, a text per paragraph; none without it."""
    try:
        template = environment().get_template(f"notes/{kind}.j2")
    except jinja2.TemplateNotFound:
        return []
    return template.render(LEAST=LEAST, PAPER_N_TEST=PAPER_N_TEST, **values).strip().split("\n\n")


def latex(table: Table, *, command: str) -> str:
    """Returns a LaTeX table (booktabs) with the title and notes as its caption.

    The command that makes it is in a comment above.
    """
    return environment().get_template("latex.j2").render(table=table, command=command)
