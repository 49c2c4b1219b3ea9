"""report.html: one file with everything in it, figures and records too; no network, no script."""

import base64
import html as markup
import importlib.resources
import json
import string
from collections.abc import Iterable
from typing import Any

from ft_tf.records import Record
from ft_tf.report.document import Document, Section, alternative_text, title_of
from ft_tf.report.views import Column, View

_escape = markup.escape
_WIDE_PIXELS = 1000


def html(document: Document) -> str:
    """The page as text; every text of a record is escaped."""
    template = importlib.resources.files("ft_tf.report") / "page.html"
    parts = [
        (section.name, section.view.title, _section(section, document))
        for section in document.sections
    ]
    parts += [
        ("data", "Data", _pairs(document.data_notes)),
        ("privacy", "Privacy of each DP-SGD run", _pairs(document.statements)),
        ("failures", "Failed runs", _pairs(document.failures)),
        ("skipped", "Figures that could not be drawn", _list(document.skipped)),
        ("records", "Records", _records(document.records)),
    ]
    shown = [part for part in parts if part[2]]
    return string.Template(template.read_text(encoding="utf-8")).substitute(
        summary=_escape(document.summary),
        count=len(document.records),
        contents="".join(
            f'<li><a href="#{name}">{_escape(title.split(":")[0])}</a></li>'
            for name, title, _ in shown
        ),
        sections="\n".join(
            f'<section id="{name}" class="{name}">\n<h2>{_escape(title)}</h2>\n{body}\n</section>'
            for name, title, body in shown
        ),
    )


def _section(section: Section, document: Document) -> str:
    images = "\n".join(
        _figure(name, caption, document.images[name]) for name, caption in section.figures
    )
    figures = f'<div class="figures">\n{images}\n</div>' if images else ""
    notes = "".join(f'<p class="note">{_escape(note)}</p>' for note in section.view.notes)
    if not section.view.rows:
        return '<p class="note">Nothing on record.</p>'
    return f"{_table(section.view)}\n{notes}\n{figures}"


def _figure(name: str, caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode("ascii")
    text = _escape(alternative_text(name, caption))
    return (
        f'<figure class="{_size(png)}"><div>'
        f'<img alt="{text}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{_escape(caption)}</figcaption></figure>"
    )


def _size(png: bytes) -> str:
    """Figures with panels side by side take the whole width; the width stands in the header."""
    return "wide" if int.from_bytes(png[16:20], "big") > _WIDE_PIXELS else "narrow"


def _table(view: View) -> str:
    body = []
    for cells, detail, state in zip(view.rows, view.details, view.states, strict=True):
        tail = "".join(
            _cell(column, text) for column, text in zip(view.columns[1:], cells[1:], strict=True)
        )
        name = f'<th scope="row">{_escape(cells[0])}</th>'
        body.append(f'<tr class="cells {state}">{name}{tail}</tr>')
        body.append(
            f'<tr class="detail {state}"><td colspan="{len(cells)}"><div>{_escape(detail)}</div>'
            "</td></tr>"
        )
    return (
        '<div class="scroll" tabindex="0" role="region" '
        f'aria-label="{_escape(view.title)}"><table>\n<thead>{_head(view)}</thead>\n<tbody>\n'
        + "\n".join(body)
        + "\n</tbody></table></div>"
    )


def _tint(group: str) -> str:
    return f" {group}" if group in ("paper", "ours") else ""


def _kind(column: Column) -> str:
    kinds = ("number" if column.is_number else "") + _tint(column.group)
    return f' class="{kinds.strip()}"' if kinds else ""


def _cell(column: Column, text: str) -> str:
    return f"<td{_kind(column)}>{_escape(text)}</td>"


def _head(view: View) -> str:
    names = "".join(
        f'<th scope="col"{_kind(column)}>{_escape(column.header)}</th>' for column in view.columns
    )
    spans: list[list[Any]] = []
    for column in view.columns:
        if spans and column.group and spans[-1][0] == column.group:
            spans[-1][1] += 1
        else:
            spans.append([column.group, 1])
    if not any(group for group, _ in spans):
        return f"<tr>{names}</tr>"
    groups = "".join(
        f'<th class="{"span" if size > 1 else "number"}{_tint(group)}" '
        f'colspan="{size}">{_escape(group)}</th>'
        for group, size in spans
    )
    return f"<tr>{groups}</tr><tr>{names}</tr>"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{_escape(name)}</dt><dd>{_escape(text)}</dd>" for name, text in pairs)
    return f"<dl>{items}</dl>" if items else ""


def _list(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{_escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def _records(records: Iterable[Record]) -> str:
    return "\n".join(
        f"<details><summary>{_escape(title_of(record))}</summary>"
        f"<pre>{_escape(_pretty(record))}</pre></details>"
        for record in records
    )


def _pretty(value: Any, indent: str = "") -> str:
    """JSON with a line per key, but each list of plain values on one line: histories are long."""
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        items = (
            f"{deeper}{json.dumps(key)}: {_pretty(item, deeper)}" for key, item in value.items()
        )
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        items = (f"{deeper}{_pretty(item, deeper)}" for item in value)
        return "[\n" + ",\n".join(items) + f"\n{indent}]"
    return json.dumps(value)
