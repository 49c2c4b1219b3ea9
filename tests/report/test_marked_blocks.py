"""Result tables of a page: built from records, and the README's are those of the committed ones."""

import re
from pathlib import Path

import pytest
from factory import study_of, typed

from ft_tf import records, report
from ft_tf.errors import ArgumentError, RunError
from ft_tf.report import marked_blocks
from ft_tf.report.exhibits.claims import Findings
from ft_tf.report.tidy import Study

ROOT = Path(__file__).parent.parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "experiments" / "results"
HEADING = "## Results"
PAGE = """# Page

<!-- table:membership -->
old 99.99
<!-- end -->

Words between.

<!-- table:table_5 -->
<!-- end -->
"""


def test_marked_blocks_are_replaced_and_words_kept(study):
    text = marked_blocks.filled(PAGE, study_of(*study), base="results")
    assert "99.99" not in text
    assert "Words between." in text
    assert (
        "Nothing on record yet. [Configuration of each row](results/tables/membership.md)." in text
    )
    assert "| DNN natural | 8.60 | 98.50 | 89.67 | 8.83 | +0.23 | [5.04, 12.63] | 3 | " in text
    assert "[Configuration of each row](results/tables/table_5.md)" in text
    assert (
        marked_blocks.filled(text, study_of(*study), base="results") == text
    )  # nothing changes the second time
    assert marked_blocks.filled(text, study_of(*study[3:]), base="results") != text


def test_rows_that_did_not_run_are_counted(study):
    assert "rows have no finished run" in marked_blocks.block("table_8", study_of(*study), base="r")


def test_other_sections_have_tables_too(private_study):
    found = study_of(*private_study)
    for name in ("membership", "layers_fmnist_dnn"):
        assert marked_blocks.block(name, found, base="r").startswith("| ")


def test_findings_are_a_list_and_claims_a_table(private_study):
    found = study_of(*private_study)
    lines = marked_blocks.block("findings", found, base="r").splitlines()
    assert len(lines) == len(Findings().frame(found)) >= 2
    assert all(line.startswith("- ") for line in lines)
    claims = marked_blocks.block("claims", found, base="r")
    assert claims.count("\n| ") == 10  # a rule and nine claims
    assert claims.endswith("[More of each claim](r/tables/claims.md).")
    assert "p (Holm)" not in claims


def test_nothing_on_record_is_said():
    assert marked_blocks.block("table_5", study_of(), base="r").startswith("Nothing on record yet.")


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<!-- table:table_9 -->\n<!-- end -->", "table_9 is not in the report"),
        ("<!-- table:fault_curves -->\n<!-- end -->", "fault_curves is not in the report"),  # CSV
        ("<!-- table:table_5 -->\n", "table:table_5 has no"),
        ("<!-- table:table_5 -->\n<!-- table:table_3 -->\n<!-- end -->", "before the next"),
    ],
)
def test_bad_markers_are_refused(page, words):
    with pytest.raises(ArgumentError, match=words):
        marked_blocks.filled(page, study_of(), base="r")


def test_the_file_is_rewritten_with_links_from_where_it_stands(tmp_path, run):
    fields = run(history={}, parameters=None, faults={})
    records.write(tmp_path / "results" / "one", typed(fields))
    path = tmp_path / "README.md"
    path.write_text(PAGE)
    report.fill_readme(path, tmp_path / "results")
    assert "(results/tables/table_5.md)" in path.read_text()
    with pytest.raises(RunError, match="cannot be read"):
        report.fill_readme(tmp_path / "none.md", tmp_path / "results")


def test_the_readmes_tables_are_those_of_the_committed_records():
    text = README.read_text(encoding="utf-8")
    assert HEADING in text.splitlines()
    assert "<!-- table:" in text
    study = Study(records.load_all(RESULTS))
    assert marked_blocks.filled(text, study, base="experiments/results") == text


def outside(page, heading):
    """What people wrote in one section of a page: its text without the marked blocks."""
    inside = is_open = False
    found = []
    for line in page.split("\n"):
        if line.startswith("## "):
            inside = line == heading
        elif inside and line.startswith("<!-- table:"):
            is_open = True
        elif line == "<!-- end -->":
            is_open = False
        elif inside and not is_open:
            found.append(line)
    return "\n".join(found)


def test_no_number_of_the_results_section_is_typed_by_hand():
    """Outside the markers there is no percentage, no decimal fraction, no interval."""
    words = outside(README.read_text(encoding="utf-8"), HEADING)
    assert words.strip()
    assert re.findall(r"\d+\.\d+|\d+\s?%|\[\d|±", words) == []


def test_that_check_sees_a_number():
    page = (
        f"{HEADING}\n\ntext 12.3 more\n\n<!-- table:table_5 -->\n9.99\n<!-- end -->\n\n## Next\n4.5"
    )
    words = outside(page, HEADING)
    assert "12.3" in words
    assert "9.99" not in words and "4.5" not in words
