"""Reports: records -> tidy frames (`Study`) -> exhibits -> pages, from records alone."""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from ft_tf import records as record_files
from ft_tf.errors import ArgumentError, RunError
from ft_tf.records import Record
from ft_tf.report import exhibits, marked_blocks, pages, plot_styles, rendering, table
from ft_tf.report.exhibits import Exhibit, Plot, register
from ft_tf.report.exhibits.agreement import NOT_ATTEMPTED
from ft_tf.report.table import Column
from ft_tf.report.tidy import Study

__all__ = [
    "Column",
    "Exhibit",
    "Plot",
    "Study",
    "build",
    "fill_readme",
    "register",
    "render_answer",
    "render_latex",
    "render_terminal",
]


def build(output_dir: Path | str, *, figure_formats: Sequence[str] = ("png",)) -> list[Path]:
    """Writes report.md, report.html, tables/ and figures/ from all records of a directory.

    The same records give the same bytes. A file that is already there is replaced in one step.

    Args:
        output_dir: directory of a study; rows without a record are listed as not run.
        figure_formats: "png", "pdf" and "svg"; PNG files are always written.

    Returns:
        Paths of the files, report.md and report.html first.

    Raises:
        ArgumentError: a format is not known.
        RunError: the directory does not exist, a record is not valid, or a file cannot be written
            or would be outside of the directory.
    """
    unknown = set(figure_formats) - set(plot_styles.FORMATS)
    if unknown:
        known = ", ".join(plot_styles.FORMATS)
        raise ArgumentError(f"figure_formats={', '.join(sorted(unknown))} must be of {known}")
    output_dir = Path(output_dir)
    study = Study(record_files.load_all(output_dir))
    report = pages.compose(study, formats=figure_formats)
    texts = pages.markdown(report)
    files: dict[str, str | bytes] = {"report.md": texts.pop("report.md")}
    files |= {"report.html": pages.html(report, _places(output_dir)), **texts}
    for section in report.sections:
        if len(section.frame.columns):
            files[f"tables/{section.name}.csv"] = table.csv(section.frame)
        for image in section.images:
            for ending, content in image.files.items():
                files[f"figures/{image.name}.{ending}"] = content
    whole = output_dir.resolve()
    for path in (output_dir / name for name in files):
        if not path.parent.resolve().is_relative_to(whole):
            raise RunError(
                f"{path} is outside of output_dir={str(output_dir)!r}: exhibits have names without "
                "'..', and their folders are no links"
            )
    for name, content in files.items():
        record_files.write_text(output_dir / name, content)
    return [output_dir / name for name in files]


def _places(output_dir: Path) -> dict[str, str]:
    """Name of each record -> path of its file from the directory, as a link."""
    return {
        record_files.read_json(path)["name"]: quote(path.relative_to(output_dir).as_posix())
        for path in sorted(output_dir.rglob(record_files.FILE_NAME))
    }


def fill_readme(path: Path, output_dir: Path) -> Path:
    """Builds the marked result tables of a page again from the records below `output_dir`.

    Returns:
        The page's path.

    Raises:
        RunError: the page or a record cannot be read, or the page cannot be written.
        ArgumentError: a marker names nothing that the report has.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error})") from None
    base = Path(os.path.relpath(output_dir, path.parent)).as_posix()
    new = marked_blocks.filled(text, Study(record_files.load_all(output_dir)), base=base)
    if new != text:
        record_files.write_text(path, new)
    return path


def render_terminal(
    records: Iterable[Record], names: Sequence[str] | None = None, width: int = 100
) -> str:
    """Returns tables as aligned text, `width` columns wide, notes last.

    `names` are those of exhibits, such as "table_5"; None for all that have a table.

    Raises:
        ArgumentError: the report has no such exhibit.
    """
    tables = _tables(Study(records), names)
    notes = dict.fromkeys(note for found in tables for note in found.notes)
    parts = [table.terminal(found, width=width) for found in tables]
    return "\n".join([*parts, *(table.wrapped(note, width=width) for note in notes)])


def render_answer(records: Iterable[Record], width: int = 100, *, has_rows: bool = False) -> str:
    """Returns the claims, the first sentence of each finding, and the agreement with the paper.

    With `has_rows` instead the rows of the paper that were run, and the claims with an interval.
    """
    study = Study(records)
    claims, rows, by_data = _tables(study, ("claims", "agreement", "agreement_by_data"))
    if has_rows:
        counts = Counter(row.cells[-1] for row in rows.rows)
        title = f"{rows.title}: {', '.join(f'{n} {word}' for word, n in counts.items())}"
        rows = dataclasses.replace(rows.brief(1), title=title)
        rows = rows.where(lambda cells: cells[-1] != NOT_ATTEMPTED)
        claims = claims.brief(1).where(lambda cells: "[" in cells[1])
        return "\n".join(
            table.terminal(found, width=width) for found in (rows, claims) if found.rows
        )
    texts = exhibits.EXHIBITS["findings"].frame(study)["finding"]
    first = [re.split(r"(?<=\.) (?=[A-Z])", text)[0] for text in texts]
    findings = "".join(table.wrapped(f"* {text}", width=width, indent="  ") for text in first)
    parts = [table.terminal(claims.brief(1), width=width), findings]
    parts += [table.terminal(by_data, width=width)] if by_data.rows else []
    return "\n".join(parts)


def render_latex(
    records: Iterable[Record], names: Sequence[str] | None = None, *, command: str
) -> str:
    """Returns the tables of `render_terminal` as LaTeX (booktabs), with a caption each.

    `command`, which makes them, is in a comment above each table.
    """
    tables = _tables(Study(records), names)
    return "\n".join(rendering.latex(found, command=command) for found in tables)


def _tables(study: Study, names: Sequence[str] | None) -> list[table.Table]:
    known = {exhibit.name: exhibit for exhibit in exhibits.of_study(study)}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ArgumentError(f"exhibit={unknown[0]!r} must be one of {', '.join(known)}")
    found = [known[name].table(study) for name in (known if names is None else names)]
    return [made for made in found if made is not None]
