"""report.html: one file with everything in it, figures and records too; no network, no script."""

import base64
import html as markup
import importlib.resources
import json
import string
from collections.abc import Iterable
from typing import Any

from ft_tf.records import Record
from ft_tf.report import paper
from ft_tf.report.blocks import Block, Heading, Items, Text
from ft_tf.report.claims import RULE
from ft_tf.report.claims.page import outline
from ft_tf.report.document import Document, Section, alternative_text, title_of
from ft_tf.report.figures import Drawn
from ft_tf.report.render import EMPTY
from ft_tf.report.views import Column, View

_escape = markup.escape
_WIDE_PIXELS = 1000
_FOLDED_ROWS = 16  # longer tables are folded, but for those that people come for
_NEVER_FOLDED = (*paper.EXHIBITS, "claims", "disagreements")


def html(document: Document) -> str:
    """The page as text; every text of a record is escaped."""
    template = importlib.resources.files("ft_tf.report") / "page.html"
    anchors = _Anchors(document.records)
    parts = [
        (section.name, section.view.title, _section(section, anchors))
        for section in document.sections
    ]
    parts.insert(1, ("verdict", "The claims one by one", _verdict(document, anchors)))
    parts += [
        ("data", "Data", _pairs(document.data_notes)),
        ("privacy", "Privacy of each DP-SGD run", _statements(document, anchors)),
        ("failures", "Failed runs", _pairs(document.failures)),
        ("skipped", "Figures that could not be drawn", _list(document.skipped)),
        ("records", "Records", _records(document.records, anchors)),
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


class _Anchors:
    """Where each record stands on the page."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._places = {record["name"]: place for place, record in enumerate(records, start=1)}

    def of(self, name: str) -> str:
        """Id of a record's element."""
        return f"record-{self._places[name]}"

    def links(self, names: Iterable[str]) -> str:
        """Links to records, by their seeds where the names end with them; "" for none."""
        links = [
            f'<a href="#{self.of(name)}" title="{_escape(name)}">{_escape(_seed(name))}</a>'
            for name in names
            if name in self._places
        ]
        return ", ".join(links)


def _seed(name: str) -> str:
    seed = name.rpartition("seed_")[2]
    return f"seed {seed}" if seed.isdigit() else "record"


def _verdict(document: Document, anchors: _Anchors) -> str:
    rule = f'<p class="note"><strong>The rule:</strong> {_escape(RULE)}</p>'
    return rule + "\n".join(_block(block, anchors) for block in outline(document.judged))


def _block(block: Block, anchors: _Anchors) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        label = f"<strong>{_escape(block.label)}:</strong> " if block.label else ""
        return f"<p>{label}{_escape(block.text)}</p>"
    if isinstance(block, Items):
        return _list(block.texts)
    return _folded(_table(block.view, anchors), block.view)


def _section(section: Section, anchors: _Anchors) -> str:
    images = "\n".join(_figure(figure) for figure in section.figures)
    figures = f'<div class="figures">\n{images}\n</div>' if images else ""
    notes = "".join(f'<p class="note">{_escape(note)}</p>' for note in section.view.notes)
    if not section.view.rows:
        return f'<p class="note">{EMPTY}</p>'
    table = f"{_table(section.view, anchors)}\n{notes}"
    if section.name not in _NEVER_FOLDED:
        table = _folded(table, section.view)
    return f"{table}\n{figures}"


def _folded(table: str, view: View) -> str:
    """A long table behind one line that opens it; printed, it is open."""
    if len(view.rows) <= _FOLDED_ROWS:
        return table
    return (
        f'<details class="fold"><summary>{_escape(view.title)}: {len(view.rows)} rows</summary>'
        f"\n{table}\n</details>"
    )


def _figure(figure: Drawn) -> str:
    data = base64.b64encode(figure.png).decode("ascii")
    return (
        f'<figure class="{_size(figure.png)}"><div>'
        f'<img alt="{_escape(alternative_text(figure))}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{_escape(alternative_text(figure))}</figcaption></figure>"
    )


def _size(png: bytes) -> str:
    """Figures with panels side by side take the whole width; the width stands in the header."""
    return "wide" if int.from_bytes(png[16:20], "big") > _WIDE_PIXELS else "narrow"


def _table(view: View, anchors: _Anchors) -> str:
    body = []
    behind = view.records or ((),) * len(view.rows)
    for cells, detail, state, names in zip(
        view.rows, view.details, view.states, behind, strict=True
    ):
        tail = "".join(
            _cell(column, text) for column, text in zip(view.columns[1:], cells[1:], strict=True)
        )
        links = anchors.links(names)
        shown = "; ".join(filter(None, [_escape(detail), links and f"records: {links}"]))
        name = f'<th scope="row">{_escape(cells[0])}</th>'
        body.append(f'<tr class="cells {state}">{name}{tail}</tr>')
        body.append(
            f'<tr class="detail {state}"><td colspan="{len(cells)}"><div>{shown}</div></td></tr>'
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


def _statements(document: Document, anchors: _Anchors) -> str:
    items = []
    for names, text in document.statements:
        runs: dict[str, list[str]] = {}
        for name in names:
            runs.setdefault(name.rpartition("-seed_")[0] or name, []).append(name)
        lines = "<br>".join(
            f"{_escape(stem)}: {anchors.links(seeds)}" for stem, seeds in runs.items()
        )
        items.append(f"<dt>{lines}</dt><dd>{_escape(text)}</dd>")
    return f"<dl>{''.join(items)}</dl>" if items else ""


def _records(records: Iterable[Record], anchors: _Anchors) -> str:
    """Every record, shown when a link leads to it: that needs no script."""
    return "\n".join(
        f'<div class="record" id="{anchors.of(record["name"])}">'
        f'<a href="#{anchors.of(record["name"])}">{_escape(title_of(record))}</a>'
        f"<pre>{_escape(_pretty(record))}</pre></div>"
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
