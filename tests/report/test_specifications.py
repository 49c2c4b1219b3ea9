"""The specification curve against the rows of the claims, from the committed records."""

from pathlib import Path

import pytest

from ft_tf import effects, records
from ft_tf.report import Study
from ft_tf.report.exhibits.specifications import Specifications, settings

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


@pytest.fixture(scope="module")
def study():
    return Study(records.load_all(RESULTS))


@pytest.mark.parametrize(
    ("claim", "sign"),
    [("dp_tolerance", -1), ("dp_gap", -1), ("robust_overfit", 1), ("robust_faults", 1)],
)
def test_settings_are_counted_in_the_direction_of_the_claim(study, claim, sign):
    frame = Specifications().frame(study)
    found = next(c for c in study.computed(effects.claims) if c.id == claim)
    for role, comparison in (("counted", "as judged"), ("context", "as trained")):
        values = [sign * row.estimate for row in found.rows if row.role == role]
        line = frame[frame["claim"].eq(claim) & frame["comparison"].eq(comparison)].iloc[0]
        assert line["settings"] == len(values) > 0
        assert line["holds"] == sum(value > 0 for value in values)
        assert (line["low"], line["high"]) == pytest.approx((min(values), max(values)))


def test_means_of_networks_and_the_premise_are_no_settings(study):
    found = settings(study)
    assert "premise" not in set(found["claim"])
    assert (found["label"] != "").all()


def test_a_study_without_claims_has_no_curve():
    assert Specifications().parts(Study([])) == []
