"""Intervals of what is lost."""

from ft_tf.assessment.curves import interval_of_lost


def test_trials_that_all_gain_alike_leave_their_gain_in_the_interval():
    found = interval_of_lost([-0.02] * 10)
    assert found.low <= -0.02 <= found.high < 0.5
    assert found.low >= -1.0
