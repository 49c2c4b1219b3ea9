"""One campaign, run in other ways: over processes, as a loop of one's own, without retracing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ft_tf import faults, metrics
from ft_tf._compat import keras
from ft_tf.faults.campaign import Campaign
from ft_tf.faults.plan import make_plan

layers = keras.layers
ROOT = Path(__file__).parent.parent.parent


def small_convolution():
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((9, 9, 1)), layers.Conv2D(6, 3, activation="relu")])
    for layer in (layers.MaxPooling2D(), layers.Flatten(), layers.Dense(12, activation="relu")):
        model.add(layer)
    model.add(layers.Dense(4))
    generator = np.random.Generator(np.random.Philox(3))
    x = generator.normal(size=(240, 9, 9, 1)).astype(np.float32)
    return model, x, generator.integers(0, 4, 240)


def rows_of(trials):
    model, x, y = small_convolution()
    where = {"target": "both", "rates": [0.1, 0.5], "seed": 6, "batch_size": 80}
    return faults.sweep(model, x, y, trials=trials, **where)


@pytest.mark.slow
def test_processes_that_share_the_trials_give_the_rows_of_one_to_the_bit(tmp_path):
    whole = rows_of(5)
    code = (
        "import sys; sys.path[:0] = sys.argv[3:]; import test_fault_repeatability as t; "
        "t.rows_of([int(n) for n in sys.argv[1].split(',')]).to_pickle(sys.argv[2])"
    )
    paths = [str(ROOT), str(Path(__file__).parent)]
    parts = []
    for number, trials in enumerate(("4,1", "0,2,3")):
        file = tmp_path / f"{number}.pickle"
        subprocess.run([sys.executable, "-c", code, trials, str(file), *paths], check=True)
        parts.append(pd.read_pickle(file))
    together = pd.concat(parts).sort_values(["rate", "trial"], ignore_index=True)
    pd.testing.assert_frame_equal(together, whole, check_exact=True)


def test_a_sequential_loop_on_the_same_seeds_predicts_the_same_labels():
    model, x, y = small_convolution()
    clean = model.get_weights()
    plan = make_plan(model, target="weights")
    campaign = Campaign(model, plan, x, y, batch_size=80)
    frame = faults.sweep(
        model, x, y, target="weights", rates=[0.2, 0.6], trials=4, seed=1, batch_size=80
    )
    for row in frame.itertuples():
        masks = plan.trial(seed=1, trial=row.trial).masks(row.rate)
        with campaign.armed():
            ours = metrics.predicted_labels(campaign.logits(masks))
        parts = np.split(masks.faulty["weights"], np.cumsum([w.size for w in clean])[:-1])
        faulty = [
            np.where(part.reshape(weight.shape), 0, weight)
            for part, weight in zip(parts, clean, strict=True)
        ]
        model.set_weights(faulty)
        logits = metrics.predict_logits(model, x, batch_size=80)
        model.set_weights(clean)
        np.testing.assert_array_equal(ours, metrics.predicted_labels(logits))
        assert row.accuracy == metrics.accuracy_from_logits(logits, y)
        assert row.faults == sum(part.sum() for part in parts)


class Counting(layers.Layer):
    """Counts how often its Python code runs: once a trace."""

    calls = 0

    def call(self, inputs):
        type(self).calls += 1
        return inputs


def test_no_trial_after_the_first_traces_anything():
    inputs = keras.Input((5,))
    hidden = layers.Dense(8, activation="relu")(Counting()(inputs))
    model = keras.Model(inputs, layers.Dense(3)(hidden))
    x, y = np.ones((50, 5), np.float32), np.zeros(50, int)
    for target in ("weights", "units"):
        for images in (None, 20):
            counts = []
            faults.sweep(
                model, x, y, target=target, rates=[0.1, 0.4, 0.8], trials=4, seed=0,
                batch_size=16, images_per_trial=images,
                progress=lambda row, counts=counts: counts.append(Counting.calls),
            )  # fmt: skip
            assert len(counts) == 12
            assert len(set(counts)) == 1, (target, images)
