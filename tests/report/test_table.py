"""Tables as text, Markdown, CSV and LaTeX: nothing too wide, nothing lost, nothing unescaped."""

import dataclasses
import io

import pandas as pd
import pytest
from factory import study_of, typed

from ft_tf import report
from ft_tf.errors import ArgumentError
from ft_tf.report import display_names, rendering, table
from ft_tf.report.exhibits import accuracy
from ft_tf.report.table import Column

FRAME = pd.DataFrame(
    {
        "name": ["a", "b"],
        "low": [0.1, None],
        "high": [0.25, 0.5],
        "n": [3, 0],
        "replicates": [3, 0],
        "records": ["one two", ""],
    }
)
COLUMNS = (
    Column("name", "name", format=table.text),
    Column("high", "mean", "ours"),
    Column(("low", "high"), "95%", "interval", table.interval, 1),
    Column("n", "n", format=table.count, priority=2),
)


def example(**changes):
    arguments = {"title": "Example", "notes": ["A note."]} | changes
    return table.make_table(FRAME, COLUMNS, **arguments)


def terminal(records, names, width):
    return report.render_terminal(map(typed, records), names, width)


def test_cells_come_from_the_columns_keys():
    made = example(details=[Column("records", "runs", format=table.text)])
    assert [row.cells for row in made.rows] == [
        ("a", "25.00", "[10.00, 25.00]", "3"),
        ("b", "50.00", "-", "0"),
    ]
    assert [row.detail for row in made.rows] == ["runs: one two", ""]
    assert [row.state for row in made.rows] == [table.RAN, table.MISSING]
    assert made.rows[0].records == ("one", "two")


def test_a_brief_table_has_the_rows_that_ran_and_the_columns_that_matter():
    brief = example().brief()
    assert [row.cells for row in brief.rows] == [("a", "25.00", "[10.00, 25.00]")]
    assert [column.header for column in brief.columns] == ["name", "mean", "95%"]


@pytest.mark.parametrize("width", [60, 72, 80, 100, 132, 200])
def test_no_line_is_wider_than_the_terminal(study, width):
    assert max(map(len, terminal(study, None, width).splitlines())) <= width


def test_narrow_tables_give_dropped_cells_with_their_headers(study):
    wide, narrow = (terminal(study, ["table_5"], width) for width in (240, 80))
    assert "[5.04, 12.63]" in wide and "of our gap: [" not in wide
    assert "95% prediction of our gap: [5.04, 12.63]" in " ".join(narrow.split())
    assert "difference train: -0.33" in " ".join(narrow.split())


def test_a_row_reads_paper_ours_difference(study):
    text = terminal(study, ["table_5"], 240)
    (line,) = [line for line in text.splitlines() if line.startswith("DNN natural")]
    paper, ours = ["98.83", "90.23", "8.60"], ["98.50", "89.67", "8.83"]
    assert line.split()[2:11] == [*paper, *ours, "-0.33", "-0.56", "+0.23"]


def test_failures_missing_rows_and_own_epsilons_are_said(study):
    text = " ".join(terminal(study, ["table_5", "table_8"], 100).split())
    assert "FAILED: seed 0: loss is NaN (epoch 3, step 71)" in text
    assert "not run; run it with: python -m experiments.reproduce --tables=8" in text
    assert "epsilon: 4.5 at delta 1e-05 (Poisson sampling)" in text
    assert "5.25 at delta" not in text
    assert "unlike our preset at paper scale: epochs 10 of 60" in text


def test_only_the_requested_exhibits_are_printed_and_others_refused(study):
    text = terminal(study, ["table_3"], 100)
    assert "Table 3" in text and "Table 5" not in text
    with pytest.raises(ArgumentError, match="exhibit='table_9' must be one of"):
        terminal(study, ["table_9"], 100)


def test_csv_holds_fractions_with_ten_digits(study):
    frame = accuracy.accuracy_frame(study_of(*study), "table_5")
    back = pd.read_csv(io.StringIO(table.csv(frame)))
    assert list(back.columns) == list(accuracy.FRAME)
    name = "generalization_error"
    assert back[name].dropna().to_numpy() == pytest.approx(
        frame[name].dropna().to_numpy(float), rel=1e-9
    )
    assert back[f"paper_{name}"][0] == 0.086


def test_markdown_shows_what_records_hold_and_interprets_none_of_it(run):
    hostile = "a|b <script>alert(1)</script> *c* `d` [e](http://f)"
    study = study_of(run(deviations=(hostile,)))
    text = table.markdown(accuracy.Accuracy("table_5", 0).table(study))
    shown = r"a\|b &lt;script&gt;alert(1)&lt;/script&gt; \*c\* \`d\` [e\](http://f)"
    assert shown in text and "<" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1
    assert len(rows) == 2 + 6


@pytest.mark.parametrize("width", [40, 100, 200])
def test_no_text_steers_the_terminal(width):
    """Escape sequences of a record's texts set the title of the window, say."""
    hostile = "\x1b[31mEVIL\x1b]0;x\x07\u202e"
    made = example(title=hostile, notes=[hostile])
    columns = tuple(dataclasses.replace(c, header=hostile, group=hostile) for c in made.columns)
    rows = tuple(
        dataclasses.replace(row, cells=(hostile,) * len(row.cells), detail=hostile)
        for row in made.rows
    )
    made = table.Table(hostile, columns, rows, (hostile,))
    texts = [table.terminal(made, width=width), table.wrapped(hostile, width=width)]
    texts += [table.markdown(made), rendering.latex(made, command="c")]
    for text in texts:
        assert "EVIL" in text and text.replace("\n", "").isprintable()


def test_latex_is_a_booktabs_table_with_its_command_and_escapes():
    made = example(title="50% of a_b & <c>", notes=["{x} ~ ^ \\ $5"])
    text = rendering.latex(made, command="python -m experiments.report")
    lines = text.splitlines()
    assert lines[0] == "% python -m experiments.report"
    assert r"\multicolumn{1}{c}{} & \multicolumn{1}{c}{ours} & \multicolumn{1}{c}{interval}" in text
    assert r"\begin{tabular}{lrrr}" in lines
    assert r"a & 25.00 & [10.00, 25.00] & 3 \\" in lines
    assert r"50\% of a\_b \& \textless{}c\textgreater{}. \{x\} \textasciitilde{}" in text
    assert r"\textasciicircum{} \textbackslash{} \$5}" in text
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 1


def test_every_exhibit_can_be_printed_as_latex(whole_study):
    text = report.render_latex(map(typed, whole_study), command="c")
    assert text.count("\\begin{tabular}") > 12
    assert "otherwise" not in text and "_" not in text.replace("\\_", "").replace("%", "")


def test_numbers_for_people():
    assert table.percent(0.123456) == "12.35"
    assert table.percent(float("nan")) == "-"
    assert table.interval(-0.01, 0.02) == "[-1.00, 2.00]"
    assert table.interval(None, 0.02) == "-"
    assert table.interval(0.2, 0.1) == "-"  # one committed record has its ends reversed
    assert table.count(60000) == "60,000"


def test_legend_names_differ_where_groups_do(run):
    row = "table_5/fmnist_dnn/trades"

    def trades(**changes):
        return run(row=row, algorithm="trades", **changes)

    def names(*records):
        return sorted(display_names.short_names(study_of(*records).groups).values())

    start = "TRADES, epsilon 0.1"
    assert names(run(label="table_5-quick")) == ["natural"]
    labelled = names(trades(label="a"), trades(label="b"))
    assert labelled == [f"{start}, label a", f"{start}, label b"]
    both = names(trades(), trades(options={"beta": 6.0}))
    assert both == [f"{start}, beta 1", f"{start}, beta 6"]
    tables = names(trades(label="table_4_6-paper"), trades(label="table_5-quick"))
    assert tables == [f"{start}, Table 4 and 6, paper", f"{start}, Table 5, quick"]
    assert names(trades(), trades(fitted=True)) == [start, f"{start}, fitted"]
