"""From the records below a directory to the files of its report."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from ft_tf import records as record_files
from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.report import blocks, index, page, readme, render
from ft_tf.report.document import compose, names_of, section
from ft_tf.report.verdict import summary_line


def build(output_dir: Path) -> list[Path]:
    """Writes tables/, figures/, report.md, report.html and verdict.md from all records.

    The same records give the same bytes. A file that is already there is replaced in one step.

    Args:
        output_dir: directory of a study; rows without a record are listed as not run.

    Returns:
        Paths of the files, report.md, report.html and verdict.md first.

    Raises:
        RunError: the directory does not exist, a record is not valid, or a file cannot be written.
    """
    document = compose(record_files.load_all(output_dir))
    texts = {
        "report.md": index.markdown(document),
        "report.html": page.html(document),
        "verdict.md": blocks.markdown(document.verdict),
    }
    for part in document.sections:
        texts[f"tables/{part.name}.csv"] = render.csv_text(part.frame)
        texts[f"tables/{part.name}.md"] = f"# {part.view.title}\n\n{render.markdown(part.view)}"
    for name, frame in document.data_frames.items():
        texts[f"tables/{name}.csv"] = render.csv_text(frame)
    for name, text in texts.items():
        record_files.write_text(output_dir / name, text)
    for figure in document.images:
        _write_bytes(output_dir / "figures" / figure.name, figure.png)
    return [output_dir / name for name in texts] + [
        output_dir / "figures" / figure.name for figure in document.images
    ]


def fill_readme(path: Path, output_dir: Path) -> Path:
    """Builds the marked result tables of a page anew from the records below `output_dir`.

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
    new = readme.filled(text, record_files.load_all(output_dir), base=base)
    if new != text:
        record_files.write_text(path, new)
    return path


def _write_bytes(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".figure.", dir=path.parent) as place:
            temporary = Path(place) / path.name
            temporary.write_bytes(content)
            os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error})") from None


def render_terminal(
    records: Iterable[Record], exhibits: Sequence[str] | None = None, width: int = 100
) -> str:
    """The tables as aligned text, and the verdict's line.

    Args:
        records: any records.
        exhibits: ids such as "table_5"; None for all that the report has.
        width: columns of the terminal; narrower tables leave out what matters less.

    Raises:
        ArgumentError: the paper has no such exhibit.
    """
    records = list(records)
    if exhibits is None:
        exhibits = names_of(records)
    views = [section(records, exhibit).view for exhibit in exhibits]
    parts = [render.terminal(view, width=width) for view in views]
    notes = dict.fromkeys(note for view in views if view.rows for note in view.notes)
    ends = [*notes, summary_line(records)]
    return "\n".join([*parts, *(render.wrapped(text, width=width) for text in ends)])
