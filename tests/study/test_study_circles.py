import dataclasses

import numpy as np
import pytest

from ft_tf import records
from ft_tf.errors import ArgumentError, RunError
from ft_tf.study import circles
from ft_tf.training.small_networks import REPLICATES_PER_CHUNK

ROWS = (
    ("table_3/circles_mlp/natural", "natural", 0.0),
    ("table_3/circles_mlp/additive_gaussian/0.5", "additive_gaussian", 0.5),
    ("table_3/circles_mlp/multiplicative_gaussian/0.5", "multiplicative_gaussian", 0.5),
)
CONFIG = circles.CirclesConfig(form="fixed_data", rows=ROWS, replicates=3, epochs=400)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("circles")
    return output_dir, circles.run_circles(CONFIG, output_dir)


def test_every_row_has_every_replicate_in_steps_of_one_point(record):
    _, found = record
    assert found.replicates == 3
    for row, kind, sigma in ROWS:
        result = found.results[row]
        assert (result.noise, result.sigma) == (kind, sigma)
        for split, points in (("train", 30), ("test", 70)):
            assert len(getattr(result, split)) == 3
            for accuracy in getattr(result, split):
                assert accuracy * points == pytest.approx(round(accuracy * points), abs=1e-4)


def test_training_fits_clean_points_better_than_noisy_ones(record):
    results = record[1].results
    assert min(results[ROWS[0][0]].train) > max(results[ROWS[1][0]].train) - 0.1
    assert sum(results[ROWS[0][0]].train) > sum(results[ROWS[1][0]].train)


def test_it_is_done_once_and_belongs_to_its_config(record):
    output_dir, found = record
    assert circles.job(CONFIG, output_dir).is_done()
    assert circles.run_circles(CONFIG, output_dir) == found
    with pytest.raises(RunError, match="learning_rate: 0.001 there, 0.01 here"):
        circles.run_circles(dataclasses.replace(CONFIG, learning_rate=0.01), output_dir)


def test_a_label_is_in_the_name_and_the_record_and_none_leaves_older_ones_as_they_are(tmp_path):
    plain = dataclasses.replace(CONFIG, rows=ROWS[:1], replicates=2, epochs=5)
    found = circles.run_circles(plain, tmp_path)
    assert found.name == "circles-fixed_data-replicates_2-epochs_5-seed_0"
    assert "label" not in found.config
    labelled = circles.run_circles(dataclasses.replace(plain, label="smoke"), tmp_path)
    assert labelled.name == "circles-fixed_data-smoke-replicates_2-epochs_5-seed_0"
    assert labelled.config == found.config | {"label": "smoke"}


def test_the_same_seed_gives_the_same_record(record, tmp_path):
    again = circles.run_circles(CONFIG, tmp_path)
    assert records.comparable(again) == records.comparable(record[1])


def test_redrawn_points_are_paired_across_rows_and_tested_on_many(tmp_path):
    rows = (ROWS[0], ("table_3/circles_mlp/additive_gaussian/0.01", "additive_gaussian", 0.0))
    config = circles.CirclesConfig(form="redrawn_data", rows=rows, replicates=2, epochs=50)
    found = circles.run_circles(config, tmp_path)
    assert found.data.test_examples == 10_000
    first, second = (found.results[row].test for row, _, _ in rows)
    assert first == second  # noise of scale 0 on the same points and weights
    assert first[0] != first[1]


MANY = dataclasses.replace(CONFIG, replicates=2 * REPLICATES_PER_CHUNK + 1, epochs=20)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    shares = []
    found = circles.job(MANY, tmp_path_factory.mktemp("whole")).execute(shares.append)
    return found, shares


def test_its_job_reports_every_chunk_of_replicates(whole):
    assert whole[1] == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])


def test_interrupted_it_goes_on_from_the_finished_chunks_to_the_same_record(whole, tmp_path):
    def interrupt(share):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        circles.run_circles(MANY, tmp_path, report=interrupt)
    kept = tmp_path / MANY.name / "chunks"
    assert {path.name for path in kept.glob("*.npz")} == {"0.npz", f"{REPLICATES_PER_CHUNK}.npz"}
    (kept / "0.npz").write_bytes(b"PK damaged")
    shares = []
    resumed = circles.run_circles(MANY, tmp_path, report=shares.append)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert records.comparable(resumed) == records.comparable(whole[0])
    assert (whole[0].timing.sessions, resumed.timing.sessions) == (1, 2)
    assert not kept.exists()


def test_kept_chunks_are_what_is_used(whole, tmp_path):
    stored = tmp_path / MANY.name / "chunks"
    stored.mkdir(parents=True)
    invented = {split: np.full((3, REPLICATES_PER_CHUNK), 0.5) for split in ("train", "test")}
    np.savez(stored / "0.npz", **invented)
    found = circles.run_circles(MANY, tmp_path).results[ROWS[0][0]]
    assert found.test[:REPLICATES_PER_CHUNK] == (0.5,) * REPLICATES_PER_CHUNK
    expected = whole[0].results[ROWS[0][0]].test
    assert found.test[REPLICATES_PER_CHUNK:] == expected[REPLICATES_PER_CHUNK:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "square"}, "form='square'"),
        ({"rows": ()}, "rows="),
        ({"rows": (("x", "uniform", 0.1),)}, "noise='uniform'"),
        ({"rows": (("x", "natural", -0.1),)}, "sigma=-0.1"),
        ({"rows": (("table_3/x", "natural", 0.1),)}, "row='table_3/x' must be TABLE/NETWORK"),
        ({"replicates": 0}, "replicates=0"),
    ],
)
def test_a_bad_setting_is_named(change, message):
    with pytest.raises(ArgumentError, match=message):
        dataclasses.replace(CONFIG, **change)
