"""report.md: the page that leads to every table and figure."""

from collections.abc import Iterable

from ft_tf.report import paper, render
from ft_tf.report.document import Document, Section, alternative_text

_HEAD = """# Fault tolerance in adversarial settings: our numbers beside the paper's

Built from {count} records alone by `python -m experiments.report`; change a record, not this page.

{summary}

[The verdict, claim by claim](verdict.md)
"""


def markdown(document: Document) -> str:
    """The page, with paths relative to the directory that holds tables/ and figures/."""
    parts = [_HEAD.format(count=len(document.records), summary=document.summary)]
    parts += [_section(section) for section in document.sections]
    csv = [f"- [{name}.csv](tables/{name}.csv)" for name in document.data_frames]
    parts.append(_list("Further data", csv))
    parts.append(_pairs("Data", document.data_notes))
    statements = [(", ".join(names), text) for names, text in document.statements]
    parts.append(_pairs("Privacy of each DP-SGD run", statements))
    parts.append(_pairs("Failed runs", document.failures))
    parts.append(_list("Figures that could not be drawn", [f"- {why}" for why in document.skipped]))
    return "\n".join(part for part in parts if part)


def _section(section: Section) -> str:
    images = [f"![{alternative_text(figure)}](figures/{figure.name})" for figure in section.figures]
    links = f"[CSV](tables/{section.name}.csv), [with what was run](tables/{section.name}.md)"
    # What was run stands beside the paper's rows; of the other tables it is a click away.
    is_exhibit = section.name in paper.EXHIBITS
    body = render.markdown(section.view, has_details=is_exhibit)
    return "\n\n".join([f"## {section.view.title}", links, body.rstrip(), *images]) + "\n"


def _pairs(title: str, pairs: Iterable[tuple[str, str]]) -> str:
    return _list(title, [f"- **{name}**: {' '.join(text.split())}" for name, text in pairs])


def _list(title: str, items: list[str]) -> str:
    return "\n".join([f"## {title}", "", *items, ""]) if items else ""
