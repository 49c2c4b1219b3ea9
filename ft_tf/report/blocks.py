"""A page in pieces, before it becomes Markdown or HTML."""

import dataclasses
from collections.abc import Iterable

from ft_tf.report import render
from ft_tf.report.views import View


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading of the given level, 1 for the page's title."""

    text: str
    level: int


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph; `label`, if any, stands before it in bold."""

    text: str
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Items:
    """A list."""

    texts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; its title is left to a heading before it."""

    view: View


Block = Heading | Text | Items | Table


def markdown(blocks: Iterable[Block]) -> str:
    """The page as Markdown, with a newline at its end."""
    return "\n\n".join(_markdown(block).rstrip("\n") for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Text):
        label = f"**{block.label}:** " if block.label else ""
        return label + render.escaped(block.text)
    if isinstance(block, Items):
        return "\n".join(f"- {render.escaped(text)}" for text in block.texts)
    return render.markdown(block.view)
