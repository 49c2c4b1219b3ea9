"""Every frame of the first study is what it was before the report was rewritten, value by value."""

import hashlib
import json
from pathlib import Path

import pytest

from ft_tf import records
from ft_tf.report import exhibits, table
from ft_tf.report.tidy import Study

RESULTS = Path(__file__).parent.parent.parent / "experiments" / "results"
ORACLE = json.loads((Path(__file__).parent / "oracle.json").read_text())
"""Names of the records, and the SHA-256 of each CSV that the former code made of them."""
RENAMED_TABLES = {"ablations": "arms"}
RENAMED_COLUMNS = {"generalization_error": "gap", "normalized_auc": "kept"}
"""Parts of columns' names: "paper_generalization_error" was "paper_gap"."""
DROPPED_TABLES = {"claims", "claims_evidence"}  # another rule replaces them
NEW_TABLES = {"training_curves"}  # figures alone


def former_name(column):
    if column == "robust_generalization_error":  # had that name
        return column
    for new, old in RENAMED_COLUMNS.items():
        column = column.replace(new, old)
    return column


def canonical(name, frame):
    frame = frame.rename(columns=former_name)
    if name == "fault_curves":  # its bands were written with all digits
        frame = frame.astype({"low": object, "high": object})
    return hashlib.sha256(table.csv(frame).encode()).hexdigest()


@pytest.fixture(scope="module")
def frames():
    found = [records.load(RESULTS / name) for name in ORACLE["records"]]
    study = Study(found)
    return {exhibit.name: exhibit.rows(study) for exhibit in exhibits.of_study(study)}


def test_every_former_frame_is_there(frames):
    known = {RENAMED_TABLES.get(name, name) for name in frames}
    assert set(ORACLE["frames"]) - DROPPED_TABLES == known - NEW_TABLES


@pytest.mark.parametrize("former", sorted(set(ORACLE["frames"]) - DROPPED_TABLES))
def test_a_frame_is_what_it_was(frames, former):
    new = {old: new for new, old in RENAMED_TABLES.items()}
    name = new.get(former, former)
    assert canonical(name, frames[name]) == ORACLE["frames"][former]
