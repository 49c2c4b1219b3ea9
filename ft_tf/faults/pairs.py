"""Two campaigns of models of one shape, compared trial by trial."""

import pandas as pd

from ft_tf.checks import check_columns, check_probability
from ft_tf.errors import ArgumentError
from ft_tf.faults.rows import PILOT, interval_of


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, level: float = 0.95
) -> pd.DataFrame:
    """Accuracy of `first` minus that of `second` at each rate, over the trials of both.

    The same trial hits the same sites of models of one shape, so what a set of sites does to both
    cancels. The intervals speak of further fault sets in these two models on these images, not of
    other training seeds. Where a stop rule has ended the campaigns they are of its kind: with
    "stein" the number of trials depends on the pilots' variances alone, and the scale is that of
    the pilot's differences; with "anytime" the differences are bet on.

    Args:
        first: rows of `sweep`.
        second: rows of `sweep` with the same target and seed, on a model of the same shape.
        level: nominal coverage.

    Returns:
        Columns target, rate, trials, difference, low, high, level, method, unit.

    Raises:
        ArgumentError: a trial of one has other faults than that of the other, or none is common.

    >>> row = {"target": "units", "rate": 0.5, "seed": 0, "faults": 9}
    >>> one = pd.DataFrame([{**row, "trial": t, "accuracy": 0.9 - t / 8} for t in (0, 1)])
    >>> table = paired_difference(one, one.assign(accuracy=one["accuracy"] - 0.1))
    >>> round(float(table["difference"][0]), 4), round(float(table["high"][0]), 4)
    (0.1, 0.1)
    """
    check_probability(level=level)
    keys = ["target", "rate", "trial", "seed"]
    check_columns((*keys, "faults", "accuracy"), first=first, second=second)
    both = first.merge(second, on=keys, suffixes=("", "_second"), sort=True)
    if both.empty:
        raise ArgumentError("the campaigns have no trial in common: give the same target and seed")
    if (both["faults"] != both["faults_second"]).any():
        raise ArgumentError("the campaigns have other faults: the models have not the same shape")
    rule, other = (frame.attrs.get("stop_rule") or {} for frame in (first, second))
    if rule != other:
        raise ArgumentError(f"stop_rule={rule} and {other} must be the same")
    rows = []
    for (target, rate), group in both.groupby(["target", "rate"], sort=True):
        differences = (group["accuracy"] - group["accuracy_second"]).tolist()
        interval = interval_of(
            rate,
            differences,
            level=level,
            method=rule.get("method", "student"),
            half_width=rule.get("half_width", 0.005),
            pilot=rule.get("pilot", PILOT),
            least=-1.0,
        )
        rows.append(
            {
                "target": target,
                "rate": rate,
                "trials": len(differences),
                "difference": sum(differences) / len(differences),
                "low": interval.low,
                "high": interval.high,
                "level": level,
                "method": interval.method,
                "unit": "pair of trials",
            }
        )
    return pd.DataFrame(rows)
