"""Builds tables, figures and pages again from the records below a directory.

python -m experiments.report --output_dir=DIR [--tables=3,5] [--readme=README.md]
"""

import shlex
import shutil
import sys
from pathlib import Path

from absl import flags

from experiments import _app
from ft_tf import records, report
from ft_tf.errors import ArgumentError
from ft_tf.report import paper, plot_styles

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Directory of a study, such as results/quick: records are read, and the report is written, "
    "there.",
)
_TABLES = flags.DEFINE_list(
    "tables", [], "Tables of the paper to print, such as 3,5; none for all. All are written."
)
_FORMAT = flags.DEFINE_enum(
    "format", "text", ["text", "latex"], "Tables are printed as aligned text or as LaTeX."
)
_FIGURE_FORMATS = flags.DEFINE_list(
    "figure_formats",
    ["png"],
    f"Files written of each figure, of {', '.join(plot_styles.FORMATS)}; PNG always.",
)
_README = flags.DEFINE_string(
    "readme",
    None,
    "A Markdown page whose result tables, between <!-- table:NAME --> and <!-- end -->, are built "
    "again as well.",
)


def _exhibits(numbers: list[str]) -> list[str] | None:
    exhibits = [f"table_{number.strip()}" for number in numbers]
    for number, exhibit in zip(numbers, exhibits, strict=True):
        if exhibit not in paper.TABLES:
            known = ", ".join(table.removeprefix("table_") for table in paper.TABLES)
            raise ArgumentError(f"--tables={number} is not in the paper; its tables are {known}")
    return exhibits or None


def main(argv: list[str]) -> None:
    """Prints the tables, then the files that were written."""
    del argv
    if not _OUTPUT_DIR.value:
        raise ArgumentError("--output_dir is needed: the directory that holds the records")
    exhibits = _exhibits(_TABLES.value)
    output_dir = Path(_OUTPUT_DIR.value)
    found = records.load_all(output_dir)
    if not found:
        raise ArgumentError(
            f"--output_dir={output_dir} holds no record.json: run experiments.reproduce first"
        )
    files = report.build(output_dir, figure_formats=_FIGURE_FORMATS.value)
    if _README.value:
        files.append(report.fill_readme(Path(_README.value), output_dir))
    if _FORMAT.value == "latex":
        command = shlex.join(["python", "-m", "experiments.report", *sys.argv[1:]])
        print(report.render_latex(found, exhibits, command=command))
        return
    width = shutil.get_terminal_size(fallback=(100, 24)).columns
    print(report.render_terminal(found, exhibits, width))
    for path in files:
        print(path)


if __name__ == "__main__":
    _app.run(main)
