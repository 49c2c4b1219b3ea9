"""What the benchmark of campaigns makes of its measurements."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ft_tf.errors import ArgumentError
from ft_tf.faults.benchmark import HALF_WIDTH, benchmark_faults, interval_figures

pytestmark = pytest.mark.slow


def test_both_contenders_pay_for_their_pilots_and_only_for_what_they_need():
    generator = np.random.Generator(np.random.Philox(1))
    between, images, some = 0.04**2, 10_000, 500
    sampling = 0.24 * (1 / some - 1 / images)
    accuracy = generator.normal(0.6, np.sqrt(between + sampling), 600)
    frame = pd.DataFrame(
        {"target": "units", "rate": 0.5, "trial": range(600), "faults": 5, "accuracy": accuracy}
    )
    rule = {"method": "stein", "half_width": HALF_WIDTH, "level": 0.95, "pilot": 30}
    frame.attrs.update(images=images, images_per_trial=some, stop_rule=rule)
    found = interval_figures(frame, 20.0, loop=0.5, full=0.2, small=0.02)
    assert found["trials"] == 600  # the pilot's are among them, and so is their time
    assert found["interval_seconds"] == 20.0
    needed = (stats.t.ppf(0.975, 29) / HALF_WIDTH) ** 2
    assert found["loop_trials"] == pytest.approx(needed * between, rel=0.2)
    assert found["interval_ratio"] == pytest.approx(found["loop_trials"] * 0.5 / 20.0)
    half = stats.t.ppf(0.975, 29) * np.std(accuracy[:30], ddof=1) / np.sqrt(600)
    assert found["half_width"] == pytest.approx(half)
    quiet = frame.assign(accuracy=0.6)
    quiet.attrs.update(frame.attrs)
    assert interval_figures(quiet, 20.0, loop=0.5, full=0.2, small=0.02)["loop_trials"] == 30


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="rounds=0"):
        benchmark_faults(rounds=0)
