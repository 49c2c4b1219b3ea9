"""What the fault binary says of a prediction, from rows made by hand."""

import pandas as pd
import pytest

from ft_tf.faults import text


def last_line(*holds):
    rates = [10.0**-exponent for exponent in range(len(holds), 0, -1)]
    figures = ("mean_predicted", "mean_measured", "mean_noise", "sd_predicted", "sd_measured")
    frame = pd.DataFrame({"rate": rates, "holds": holds, "sd_noise": 0.1})
    frame = frame.assign(**dict.fromkeys(figures, 1.0))
    return text.prediction_lines(frame, images=5, trials=9)[-1].strip()


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        ((True, True, False), "it holds up to rate 0.01, not at 0.1"),
        ((True, True), "it holds up to rate 0.1, the highest of these"),
        ((False, False), "it holds at none of these rates, 0.01 included"),
        ((False, True, False), "it holds at 0.01 only; at 0.001 it does not"),
    ],
)
def test_where_the_prediction_holds(holds, said):
    assert last_line(*holds).startswith(said)
