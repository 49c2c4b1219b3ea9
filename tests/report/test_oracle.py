"""Tables of the first study are what they were before the report was rewritten, value by value."""

import csv
import hashlib
import json
from pathlib import Path

import pytest

from ft_tf import records
from ft_tf.report import exhibits, table
from ft_tf.report.tidy import Study

HERE = Path(__file__).parent
RESULTS = HERE.parent.parent / "experiments" / "results"
ORACLE = json.loads((HERE / "oracle.json").read_text())
"""Names of the records, and by table and column a hash of what the former report made of them."""
RENAMED_TABLES = {"arms": "ablations"}
RENAMED_PARTS = {"gap": "generalization_error", "kept": "normalized_auc"}
"""Parts of columns' names: "paper_gap" is "paper_generalization_error"."""
KEPT_NAMES = {"robust_generalization_error", "gap_bound"}
RENAMED_COLUMNS = {"epsilon": "epsilon_paper", "epsilon_tight": "epsilon"}
"""Of the paper's tables: `epsilon` is now the one that holds."""
CHANGED = {
    "kept": "from paired losses, not from levels on different images",
    "weights_kept": "as kept",
    "units_kept": "as kept",
    "epsilon_tight": "no longer missing for noise without clipping, where it says nothing",
    "epsilon_accounting": "names no accountant, since there is one epsilon a row",
}
REPLACED = {
    "claims": "another rule judges the claims",
    "claims_evidence": "other comparisons: `claims_rows`",
    "disagreements": "`agreement` compares accuracies too; its values are in tables 3 to 8",
    "equal_accuracy": "its levels are in `ablations`; its differences are of paired losses now, in "
    "`claims_rows` and `other_measures`",
}
DISAGREEMENT = (
    "row", "paper_row", "variant", "run", "paper_gap", "gap", "gap_difference", "train_difference",
    "test_difference", "gap_prediction_low", "gap_prediction_high", "replicates", "deviations",
    "fitted", "records",
)  # fmt: skip
"""Columns of `disagreements` but its two texts."""


def canonical(cell):
    try:
        return f"{float(cell):.10g}"
    except ValueError:
        return cell


def hashed(cells):
    return hashlib.sha256("\n".join(map(canonical, cells)).encode()).hexdigest()[:12]


def columns_of(frame):
    text = table.csv(frame).replace("newly drawn points", "points drawn anew")  # once its name
    names, *lines = csv.reader(text.splitlines())
    return dict(zip(names, zip(*lines, strict=True), strict=True))


def new_name(former, column):
    if former.startswith(("table_", "figure_1")) and column in RENAMED_COLUMNS:
        return RENAMED_COLUMNS[column]
    for old, new in RENAMED_PARTS.items() if column not in KEPT_NAMES else ():
        column = column.replace(old, new)
    return column


@pytest.fixture(scope="module")
def frames():
    study = Study(records.load(RESULTS / name) for name in ORACLE["records"])
    return {exhibit.name: exhibit.rows(study) for exhibit in exhibits.of_study(study)}


@pytest.mark.parametrize("former", sorted(set(ORACLE["tables"]) - set(REPLACED)))
def test_a_table_is_what_it_was(frames, former):
    found = columns_of(frames[RENAMED_TABLES.get(former, former)])
    expected = {n: of for n, of in ORACLE["tables"][former].items() if n not in CHANGED}
    assert {name: hashed(found[new_name(former, name)]) for name in expected} == expected


def test_disagreements_are_lines_of_the_tables_of_the_paper(frames):
    names = [new_name("", name) for name in DISAGREEMENT]
    tables = [columns_of(frames[f"table_{number}"]) for number in range(3, 9)]
    lines = {hashed(line) for t in tables for line in zip(*(t[n] for n in names), strict=True)}
    assert set(ORACLE["tables"]["disagreements"]) <= lines


@pytest.mark.parametrize("side", ["private", "stopped"])
def test_levels_at_equal_accuracy_are_in_the_ablations(frames, side):
    """Hashes of this table are of sorted cells, since its order was another."""
    part = {"private": "DP-SGD", "stopped": "natural, stopped"}[side]
    lines = frames["ablations"]
    lines = lines[lines["part"].str.startswith(part)]
    expected = ORACLE["tables"]["equal_accuracy"]
    assert hashed(sorted(2 * columns_of(lines)["test"])) == expected[f"test_{side}"]
    for rate in (10, 50, 90):
        levels = [columns_of(lines)[f"{target}_{rate}"] for target in ("weights", "units")]
        assert hashed(sorted(sum(levels, ()))) == expected[f"at_{rate}_{side}"]
