"""Text output: nothing wider than asked, nothing dropped without a trace, nothing unescaped."""

import io

import pandas as pd
import pytest

from ft_tf import report
from ft_tf.report import labels, render, tables, views
from ft_tf.report.groups import groups_by_row


@pytest.mark.parametrize("width", [60, 72, 80, 100, 132, 200])
def test_no_line_is_wider_than_the_terminal(study, width):
    text = report.render_terminal(study, None, width)
    assert max(map(len, text.splitlines())) <= width


def test_narrow_tables_tell_in_words_what_they_leave_out(study):
    wide = report.render_terminal(study, ["table_5"], 200)
    narrow = report.render_terminal(study, ["table_5"], 80)
    assert "[5.04, 12.63]" in wide and "of our gap: [" not in wide
    assert "95% prediction of our gap: [5.04, 12.63]" in " ".join(narrow.split())
    assert "difference train: -0.33" in " ".join(narrow.split())


def test_a_row_reads_paper_ours_difference(study):
    text = report.render_terminal(study, ["table_5"], 200)
    (line,) = [line for line in text.splitlines() if line.startswith("DNN natural")]
    paper, ours = ["98.83", "90.23", "8.60"], ["98.50", "89.67", "8.83"]
    assert line.split()[2:11] == [*paper, *ours, "-0.33", "-0.56", "+0.23"]


def test_failures_missing_rows_and_own_epsilons_are_said(study):
    text = " ".join(report.render_terminal(study, ["table_5", "table_8"], 100).split())
    assert "FAILED: TRADES" in text
    assert "failed: seed 0: loss is NaN (epoch 3, step 71)" in text
    assert "not run; run it with: python -m experiments.reproduce --tables=8" in text
    assert "own epsilon 5.25 at delta 1e-05" in text
    assert "6,000 training images (note on fashion_mnist); otherwise than our preset" in text
    assert "at paper scale: epochs 10 of 60" in text


def test_only_the_asked_exhibits_are_printed(study):
    text = report.render_terminal(study, ["table_3"], 100)
    assert "Table 3" in text
    assert "Table 5" not in text


def test_csv_holds_fractions_with_ten_digits(study):
    frame = tables.accuracy_frame(study, "table_5")
    text = render.csv_text(frame)
    back = pd.read_csv(io.StringIO(text))
    assert list(back.columns) == list(tables.COLUMNS)
    assert back["gap"].dropna().to_numpy() == pytest.approx(
        frame["gap"].dropna().to_numpy(float), rel=1e-9
    )
    assert back["paper_gap"][0] == 0.086


def test_markdown_escapes_what_would_break_the_table(run):
    record = run(label="a|b <i> *c*")
    view = views.accuracy(tables.accuracy_frame([record], "table_5"), title="t")
    text = render.markdown(view)
    assert r"a\|b \<i> \*c\*" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    bars = {line.replace(r"\|", "").count("|") for line in rows}
    assert len(bars) == 1
    assert len(rows) == 2 + 6


def test_numbers_for_people():
    assert views.percent(0.123456) == "12.35"
    assert views.percent(float("nan")) == "-"
    assert views.percent_interval(-0.01, 0.02) == "[-1.00, 2.00]"
    assert views.percent_interval(None, 0.02) == "-"
    assert views.count(60000) == "60,000"


def test_legend_names_are_told_apart_only_where_they_must(run):
    row = "table_5/fmnist_dnn/trades"

    def names(*records):
        found = groups_by_row(records)
        groups = [group for groups in found.values() for group in groups]
        return sorted(labels.short_runs(groups).values())

    assert names(run(label="table_5-quick")) == ["natural"]
    assert names(
        run(row=row, algorithm="trades", label="a"), run(row=row, algorithm="trades", label="b")
    ) == ["TRADES, epsilon 0.1 (a)", "TRADES, epsilon 0.1 (b)"]
    assert names(
        run(row=row, algorithm="trades"),
        run(row=row, algorithm="trades", options={"beta": 6.0}),
    ) == ["TRADES, epsilon 0.1, beta 1", "TRADES, epsilon 0.1, beta 6"]
    assert names(
        run(row=row, algorithm="trades", label="table_8-paper-as_0.49"),
        run(row=row, algorithm="trades", label="table_4_6-quick"),
    ) == [
        "TRADES, epsilon 0.1 (Table 8, paper-as_0.49)",
        "TRADES, epsilon 0.1 (Tables 4 and 6, quick)",
    ]
    half = run(row=row, algorithm="trades")
    half["config"]["precision"] = "mixed_bfloat16"
    assert names(run(row=row, algorithm="trades"), half) == [
        "TRADES, epsilon 0.1, in float32",
        "TRADES, epsilon 0.1, in mixed_bfloat16",
    ]
    longer = run(row=row, algorithm="trades")
    longer["config"]["epochs"] += 1
    assert names(run(row=row, algorithm="trades"), longer) == [
        "TRADES, epsilon 0.1 (variant 1)",
        "TRADES, epsilon 0.1 (variant 2)",
    ]
    assert names(
        run(row=row, algorithm="trades", label="table_4_6-paper"),
        run(row=row, algorithm="trades", label="table_5-paper"),
        run(row=row, algorithm="trades", label="table_5-paper-fitted", fitted=True),
    ) == [
        "TRADES, epsilon 0.1 (Table 5)",
        "TRADES, epsilon 0.1 (Tables 4 and 6)",
        "TRADES, epsilon 0.1, fitted",
    ]
