"""Builds tables, figures and pages again from the records below a directory.

Examples:
    python -m experiments.report --output_dir=DIR                  what the records say, on a page
    python -m experiments.report --output_dir=DIR --tables=3,5     tables of the paper
    python -m experiments.report --output_dir=DIR --print=all      every table
"""

import shlex
import sys
from pathlib import Path

from absl import flags

from experiments import _app, _mlflow, _stack, _terminal
from ft_tf import records, report
from ft_tf.errors import ArgumentError
from ft_tf.report import paper, plot_styles

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags."""
    _stack.define_import()
    flags.DEFINE_string(
        "output_dir",
        None,
        "Directory of a study, such as results/quick: records are read, and the report is written, "
        "there.",
    )
    flags.DEFINE_list("tables", [], "Tables of the paper to print, such as 3,5. All are written.")
    flags.DEFINE_enum(
        "print", "summary", ["summary", "all"], "What is printed: a summary, or every table."
    )
    flags.DEFINE_enum(
        "format", "text", ["text", "latex"], "Tables are printed as aligned text or as LaTeX."
    )
    flags.DEFINE_list(
        "figure_formats",
        ["png"],
        f"Files written of each figure, of {', '.join(plot_styles.FORMATS)}; PNG always.",
    )
    flags.DEFINE_string(
        "mlflow",
        None,
        "Also make an MLflow run of each record that has none, on this tracking server or in this "
        "folder (file:mlruns). Needs MLflow: pip install 'ft_tf[mlflow]'.",
    )
    flags.DEFINE_string(
        "readme",
        None,
        "A Markdown page whose result tables, between <!-- table:NAME --> and <!-- end -->, are "
        "built again as well.",
    )


def _exhibits(numbers: list[str]) -> list[str] | None:
    exhibits = [f"table_{number.strip()}" for number in numbers]
    for number, exhibit in zip(numbers, exhibits, strict=True):
        if exhibit not in paper.TABLES:
            known = ", ".join(table.removeprefix("table_") for table in paper.TABLES)
            raise ArgumentError(f"--tables={number} is not in the paper; its tables are {known}")
    return exhibits or None


def main(argv: list[str]) -> None:
    """Prints the summary or tables, then where the report is."""
    del argv
    if not FLAGS.output_dir:
        raise ArgumentError("--output_dir is needed: the directory that holds the records")
    _stack.import_modules()
    exhibits = _exhibits(FLAGS.tables)
    output_dir = Path(FLAGS.output_dir)
    found = records.load_all(output_dir)
    if not found:
        raise ArgumentError(
            f"--output_dir={output_dir} holds no record.json: run experiments.reproduce first"
        )
    if FLAGS.mlflow:
        print(f"{_mlflow.export(found, FLAGS.mlflow)} runs made in MLflow at {FLAGS.mlflow}")
    files = report.build(output_dir, figure_formats=FLAGS.figure_formats)
    if FLAGS.readme:
        files.append(report.fill_readme(Path(FLAGS.readme), output_dir))
    if FLAGS.format == "latex":
        command = shlex.join(["python", "-m", "experiments.report", *sys.argv[1:]])
        print(report.render_latex(found, exhibits, command=command))
        return
    width = _terminal.width()
    if exhibits is None:
        print(_terminal.coloured(report.render_answer(found, width)))
    if exhibits is not None or FLAGS["print"].value == "all":
        print(report.render_terminal(found, exhibits, width))
    print(f"{len(files)} files; {output_dir / 'report.html'} shows all of it, report.md the same")
    if exhibits is None and FLAGS["print"].value != "all":
        print("every table: --print=all; tables of the paper: --tables=3,5")


if __name__ == "__main__":
    _app.run(main, define_flags)
