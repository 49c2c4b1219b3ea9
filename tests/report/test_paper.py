"""The paper's numbers: every line of the CSV is reachable by a stable id."""

import csv
import importlib.resources

import pytest

from ft_tf.errors import ArgumentError
from ft_tf.report import paper

LINES = list(
    csv.DictReader(
        (importlib.resources.files("ft_tf.report") / "paper_numbers.csv").read_text().splitlines()
    )
)


def test_every_line_of_the_csv_is_reachable_by_its_id():
    assert len(paper.all_rows()) == len(LINES) == 39
    assert len({row.id for row in paper.all_rows()}) == len(LINES)
    for line, row in zip(LINES, paper.all_rows(), strict=True):
        assert paper.row(row.id) is row
        assert paper.is_row(row.id)
        for name in paper.MEASURES:
            value = getattr(row, name)
            assert (value is None) == (line[name] == "")
            if value is not None:
                assert 100 * value == pytest.approx(float(line[name]), abs=1e-9)
        assert (row.parameter, row.value, row.note) == (
            line["parameter"],
            line["value"],
            line["note"],
        )


@pytest.mark.parametrize(
    ("id", "train", "test", "gap"),
    [
        ("table_5/fmnist_dnn/trades", 98.76, 89.93, 8.83),
        ("table_8/fmnist_dnn/dpsgd/2.97", 85.70, 83.64, 2.06),
        ("table_6/cifar10_cnn/trades/8_255", 93.26, 76.04, 17.22),
        ("table_3/circles_mlp/additive_gaussian/0.01", 100.0, 77.1, 22.9),
        ("table_3/circles_mlp/natural", 100.0, 75.7, 24.3),
        ("table_7/fmnist_cnn/dpsgd/0.49", 76.84, 76.09, 0.75),
        ("table_7/fmnist_cnn/dpsgd/2e6", 94.21, 89.81, 4.40),
        ("table_4/cifar10_cnn/trades", 93.26, 76.04, 17.22),
    ],
)
def test_ids_that_records_carry(id, train, test, gap):
    row = paper.row(id)
    printed = (row.train, row.test, row.generalization_error)
    assert printed == pytest.approx((train / 100, test / 100, gap / 100), abs=1e-12)


def test_printed_gaps_are_the_printed_differences():
    for row in paper.all_rows():
        if row.train is not None:
            difference = row.train - row.test
            assert row.generalization_error == pytest.approx(difference, abs=1.01e-4), row.id


def test_measures_of_figures_2_and_3():
    assert paper.row("figure_2/cifar10_cnn/trades").measure == 0.125378
    assert paper.row("figure_2/fmnist_cnn/tikhonov").measure == 0.023772
    assert paper.row("figure_3/trades").measure == pytest.approx(0.2693)
    assert paper.row("table_4/cifar10_cnn/natural").measure is None


def test_every_row_belongs_to_a_described_exhibit():
    assert {row.exhibit for row in paper.all_rows()} == set(paper.EXHIBITS)
    assert sum(len(paper.rows(exhibit)) for exhibit in paper.EXHIBITS) == len(LINES)


def test_unknown_names_are_refused_with_what_is_known():
    with pytest.raises(ArgumentError, match="exhibit='table_9' must be one of table_3"):
        paper.rows("table_9")
    with pytest.raises(ArgumentError, match="row='table_5/x'"):
        paper.row("table_5/x")
    assert not paper.is_row("table_5/x")
