"""Single layers: means over seeds by hand, and names that survive Keras's counting."""

from types import SimpleNamespace

import pytest
from factory import study_of

from ft_tf.report import tidy
from ft_tf.report.exhibits import layers


def lines_of(records):
    return layers.Layers("fmnist_dnn").frame(study_of(*records)).to_dict("records")


def test_layers_of_seeds_are_pooled_though_keras_numbers_on(paper_run):
    """Accuracy with faults in layer k of weights: test - 0.14 / k; the whole model: - 0.175."""
    records = [
        paper_run(seed=seed, test=test, numbered_from=5 * seed)
        for seed, test in enumerate((0.88, 0.90, 0.92))
    ]
    assert records[0]["layer_faults"]["weights"][1]["layer"] == "dense"
    assert records[1]["layer_faults"]["weights"][1]["layer"] == "dense_5"
    found = [line for line in lines_of(records) if line["target"] == "weights"]
    assert [line["layer"] for line in found] == ["whole model", "dense 1", "dense 2", "logits"]
    expected = (0.90 - 0.175, 0.90 - 0.14, 0.90 - 0.07, 0.90 - 0.14 / 3)
    assert [line["accuracy"] for line in found] == pytest.approx(expected)
    reach = 4.302652729911275 * 0.02 / 3**0.5  # t(0.975, 2) s / sqrt(3)
    assert found[1]["low"] == pytest.approx(0.76 - reach)
    assert found[1]["high"] == pytest.approx(0.76 + reach)
    assert {line["replicates"] for line in found} == {3}
    assert found[1]["share_of_sites"] == pytest.approx(401_920 / 669_706)
    assert found[1]["drop"] == pytest.approx(0.14)


def test_one_seed_has_its_own_interval(paper_run):
    line = lines_of([paper_run(test=0.9)])[1]
    assert (line["low"], line["high"]) == pytest.approx((0.75, 0.77))
    assert line["band"] == "fault sets, one model"


def test_units_have_no_output_layer(paper_run):
    found = [line["layer"] for line in lines_of([paper_run()]) if line["target"] == "units"]
    assert found == ["whole model", "dense 1", "dense 2"]


def test_names_of_one_kind_are_counted_and_others_kept():
    names = ("whole model", "conv2d_3", "conv2d_4", "dense_9", "logits", "conv_1")
    assert tidy.layer_names([SimpleNamespace(layer=name) for name in names]) == [
        "whole model", "conv 1", "conv 2", "dense 1", "logits", "conv 3",
    ]  # fmt: skip


def test_runs_without_layers_have_no_lines(run):
    assert lines_of([run()]) == []


def test_the_view_has_a_row_per_run_and_target_and_the_whole_model_first(paper_run):
    records = [paper_run(seed=seed, test=0.9 + seed / 100) for seed in range(3)]
    records.append(paper_run(row="table_5/fmnist_dnn/tikhonov", algorithm="tikhonov"))
    (exhibit,) = layers.Layers().parts(study_of(*records))
    view = exhibit.table(study_of(*records))
    assert [row.cells[1] for row in view.rows] == ["weights", "units"] * 2
    headers = [column.header for column in view.columns]
    assert headers == ["run", "stuck at 0", "whole model", "dense 1", "dense 2", "logits", "n"]
    assert view.rows[0].cells[2].startswith("73.50 ±")  # 91 - 17.5
    assert view.rows[1].cells[5] == "-"  # units have no output layer
    assert view.rows[0].cells[-1] == "3"
