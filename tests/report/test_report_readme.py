"""Result tables of a page: built from records, and the README's are those of the committed ones."""

import re
from pathlib import Path

import pytest

from ft_tf import records, report
from ft_tf.errors import ArgumentError, RunError
from ft_tf.report import readme

ROOT = Path(__file__).parent.parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "experiments" / "results"
HEADING = "## Results"
PAGE = """# Page

<!-- table:summary -->
old 99.99
<!-- end -->

Words between.

<!-- table:table_5 -->
<!-- end -->
"""


def test_marked_blocks_are_replaced_and_words_kept(study):
    text = readme.filled(PAGE, study, base="results")
    assert "99.99" not in text
    assert "Words between." in text
    assert "7 of 7 of the paper's gaps" in text
    assert "| DNN natural | 8.60 | 98.50 | 89.67 | 8.83 | +0.23 | [5.04, 12.63] | 3 |" in text
    assert "[What was run in each row](results/tables/table_5.md)" in text
    assert readme.filled(text, study, base="results") == text  # nothing changes the second time
    assert readme.filled(text, study[:-3], base="results") != text


def test_rows_that_did_not_run_are_counted(study):
    assert "rows have no finished run" in readme.block("table_8", study, base="r")


def test_other_sections_have_tables_too(private_study):
    for name in ("claims", "membership", "equal_accuracy", "layers_fmnist_dnn"):
        assert readme.block(name, private_study, base="r").startswith("| ")


def test_the_tradeoff_of_one_data_set_stands_alone(private_study, paper_run):
    cifar = {"architecture": "cifar10_cnn", "dataset": "cifar10"}
    robust = paper_run(row="table_4/cifar10_cnn/trades", algorithm="trades", **cifar)
    found = readme.block("tradeoff_cifar10", [*private_study, robust], base="r")
    lines = [line for line in found.splitlines() if line.startswith("| ")]
    assert len(lines) == 3
    assert "TRADES" in lines[2] and "DP-SGD" not in found


def test_short_tables_say_what_their_words_mean_and_how_long_cifar_was_trained(private_study, run):
    cifar = {"architecture": "cifar10_cnn", "dataset": "cifar10"}
    row = "table_4/cifar10_cnn"
    records = [
        run(row=f"{row}/natural", **cifar),
        run(row=f"{row}/trades", algorithm="trades", fitted=True, **cifar),
    ]
    found = readme.block("table_4", records, base="r")
    assert "| 10 epochs;" in found and "| 10 epochs (its authors' script: 76); fitted;" in found
    assert "Fitted: a setting was chosen" in found and "Own epsilon" not in found
    private = readme.block("table_8", private_study, base="r")
    assert "Own epsilon: that of our run" in private and "Fitted:" not in private
    assert "its authors" not in private


def test_nothing_on_record_is_said():
    for name in ("table_5", "tradeoff_cifar10"):
        assert readme.block(name, [], base="r").startswith("Nothing on record yet.")


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<!-- table:table_9 -->\n<!-- end -->", "table_9 is not in the report"),
        ("<!-- table:tradeoff_cifra10 -->\n<!-- end -->", "tradeoff_cifra10 is not in the report"),
        ("<!-- table:table_5 -->\n", "table:table_5 has no"),
        ("<!-- table:table_5 -->\n<!-- table:table_3 -->\n<!-- end -->", "before the next"),
    ],
)
def test_bad_markers_are_refused(page, words):
    with pytest.raises(ArgumentError, match=words):
        readme.filled(page, [], base="r")


def test_the_file_is_rewritten_with_links_from_where_it_stands(tmp_path, run):
    records.write(tmp_path / "results" / "one", run(history={}, parameters=None, faults={}))
    path = tmp_path / "README.md"
    path.write_text(PAGE)
    report.fill_readme(path, tmp_path / "results")
    assert "(results/tables/table_5.md)" in path.read_text()
    with pytest.raises(RunError, match="cannot be read"):
        report.fill_readme(tmp_path / "none.md", tmp_path / "results")


def committed():
    return records.load_all(RESULTS) if RESULTS.is_dir() else []


def test_the_readmes_tables_are_those_of_the_committed_records():
    text = README.read_text(encoding="utf-8")
    assert HEADING in text.splitlines()
    assert "<!-- table:" in text
    assert readme.filled(text, committed(), base="experiments/results") == text


def test_no_number_of_the_results_section_is_typed_by_hand():
    """Outside the markers there is no percentage, no decimal fraction, no interval."""
    words = readme.outside(README.read_text(encoding="utf-8"), HEADING)
    assert words.strip()
    assert re.findall(r"\d+\.\d+|\d+\s?%|\[\d|±", words) == []


def test_that_check_sees_a_number():
    page = (
        f"{HEADING}\n\ntext 12.3 more\n\n<!-- table:table_5 -->\n9.99\n<!-- end -->\n\n## Next\n4.5"
    )
    words = readme.outside(page, HEADING)
    assert "12.3" in words
    assert "9.99" not in words and "4.5" not in words
