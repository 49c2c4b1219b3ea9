import numpy as np

from ft_tf import intervals


def test_ends_are_plain_numbers_whatever_numpy_calls_its_own():
    some, others = np.array([0.1, 0.4, 0.7, 0.2]), np.array([0.3, 0.9])
    right = np.array([True, False, True, True])
    betting = intervals.BettingInterval()
    for value in some:
        betting.add(value)
    found = [
        betting.interval,
        intervals.independent_proportions(right, [True, True]),
        intervals.mean(some, unit="seed"),
        intervals.over_seeds([some, others]),
        intervals.paired_proportions(right, ~right),
        intervals.prediction(some, unit="seed"),
        intervals.proportion(successes=np.count_nonzero(right), trials=len(right)),
        intervals.stein(some, pilot_trials=2),
        intervals.stein(some, pilot_trials=2, pilot_variance=0.1),
        *intervals.simultaneous(np.outer(some, [0.2, 0.9])),
        intervals.welch(some, others, unit="seed"),
    ]
    for interval in found:
        assert {type(interval.low), type(interval.high)} == {float}, interval
