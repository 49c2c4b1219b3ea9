"""What a clock charges."""

import pytest

from ft_tf.assessment import clock


def test_time_is_charged_to_the_measurement_in_work():
    said, times = [], iter([100.0, 103.0, 107.0])
    found = clock.Clock(
        60, {"before": 40.0}, lambda spent, name: said.append((spent, name)), lambda: next(times)
    )
    with pytest.raises(KeyError), found.charged("one") as began:
        assert began == 100.0 and found.tick() == 103.0
        raise KeyError
    assert found.seconds == {"before": 40.0, "one": 7.0} and found.left == 13.0
    assert said == [(43.0, "one"), (47.0, "one")]
