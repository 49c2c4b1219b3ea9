"""Templates of the report: pages, and the sentences below tables."""

from typing import Any

import jinja2

from ft_tf.data.circles import PAPER_N_TEST
from ft_tf.report.replicates import LEAST
from ft_tf.report.table import Table, epsilon, escape_latex, group_spans

LOADER = jinja2.PackageLoader("ft_tf.report")


def environment(*, is_html: bool = False) -> jinja2.Environment:
    """Returns an environment for the templates; HTML escapes every text."""
    return jinja2.Environment(
        loader=LOADER,
        autoescape=is_html,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )


def notes(kind: str, **values: Any) -> list[str]:
    """Returns the sentences of templates/notes/KIND.j2, a text per paragraph; none without it.

    Args:
        kind: of the table.
        **values: for the template.
    """
    texts = environment()
    texts.filters["epsilon"] = epsilon
    try:
        template = texts.get_template(f"notes/{kind}.j2")
    except jinja2.TemplateNotFound:
        return []
    return template.render(LEAST=LEAST, PAPER_N_TEST=PAPER_N_TEST, **values).strip().split("\n\n")


def latex(table: Table, *, command: str) -> str:
    """A LaTeX table (booktabs) with the title and notes as its caption.

    Args:
        table: any table.
        command: the command that makes it, for a comment above.
    """
    texts = environment()
    texts.filters |= {"latex": escape_latex, "spans": group_spans}
    return texts.get_template("latex.j2").render(table=table, command=command)
