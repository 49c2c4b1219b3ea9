"""Paired differences of two campaigns, by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ft_tf.errors import ArgumentError
from ft_tf.faults import paired_difference


def campaign(accuracies, rule=None, **columns):
    rows = [
        {"target": "units", "rate": rate, "trial": trial, "seed": 1, "faults": 3, "accuracy": value}
        for rate, values in accuracies.items()
        for trial, value in enumerate(values)
    ]
    frame = pd.DataFrame(rows).assign(**columns)
    frame.attrs["stop_rule"] = rule
    return frame


def test_what_the_sites_do_to_both_cancels():
    generator = np.random.Generator(np.random.Philox(1))
    common = generator.normal(0.6, 0.1, 40)
    own = generator.normal(0, 0.002, 40)
    first = campaign({0.0: [0.9] * 40, 0.5: common + 0.01 + own})
    second = campaign({0.0: [0.88] * 40, 0.5: common})
    table = paired_difference(first, second).set_index("rate")
    assert (table["low"][0.0], table["high"][0.0]) == (pytest.approx(0.02),) * 2
    half = stats.t.ppf(0.975, 39) * np.std(own, ddof=1) / np.sqrt(40)
    assert table["difference"][0.5] == pytest.approx(0.01 + own.mean())
    assert table["high"][0.5] - table["low"][0.5] == pytest.approx(2 * half)
    assert table["trials"].tolist() == [40, 40]


def test_pairs_of_stopped_campaigns_are_those_of_both_with_the_pilots_scale():
    generator = np.random.Generator(np.random.Philox(2))
    rule = {"method": "stein", "half_width": 0.01, "level": 0.95, "pilot": 5}
    values = generator.normal(0.6, 0.1, (2, 30))
    first = campaign({0.0: [0.9], 0.5: values[0][:12]}, rule)
    second = campaign({0.0: [0.9], 0.5: values[1]}, rule)
    row = paired_difference(first, second).iloc[1]
    assert row["trials"] == 12
    pilot = (values[0] - values[1])[:5]
    half = stats.t.ppf(0.975, 4) * pilot.std(ddof=1) / np.sqrt(12)
    assert row["high"] - row["low"] == pytest.approx(2 * half)


def test_bets_on_differences_stay_in_their_range():
    rule = {"method": "anytime", "half_width": 0.1, "level": 0.95, "pilot": 30}
    first, second = campaign({0.5: [0.9] * 300}, rule), campaign({0.5: [0.2] * 300}, rule)
    row = paired_difference(first, second).iloc[0]
    assert row["low"] <= 0.7 <= row["high"]
    assert row["high"] - row["low"] < 0.4


def test_other_shapes_and_other_rules_are_refused():
    one = campaign({0.5: [0.9, 0.8]})
    with pytest.raises(ArgumentError, match="same sites"):
        paired_difference(one, campaign({0.5: [0.9, 0.8]}, faults=4))
    with pytest.raises(ArgumentError, match="no trial in common"):
        paired_difference(one, campaign({0.4: [0.9, 0.8]}))
    rule = {"method": "stein", "half_width": 0.01, "level": 0.95, "pilot": 5}
    with pytest.raises(ArgumentError, match="stop_rule"):
        paired_difference(one, campaign({0.5: [0.9, 0.8]}, rule))
