"""What a campaign says: a row of figures per fault rate, and headline figures of the curve."""

import numpy as np
import pandas as pd

from ft_tf import intervals
from ft_tf.checks import check_probability
from ft_tf.errors import ArgumentError


def summarize(frame: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Mean accuracy per target and rate, with a Student-t interval over trials.

    Args:
        frame: rows of `sweep`, of one model.
        level: nominal coverage of each interval.

    Returns:
        Columns target, rate, trials, faults (mean), accuracy (mean), low, high, level, method,
        unit.

    Raises:
        ArgumentError: the frame is empty.
    """
    check_probability(level=level)
    if frame.empty:
        raise ArgumentError("frame has no rows")
    rows = []
    for (target, rate), group in frame.groupby(["target", "rate"], sort=True):
        values = group["accuracy"].to_numpy(np.float64)
        interval = intervals.mean(values, level=level, unit="trial")
        rows.append(
            {
                "target": target,
                "rate": rate,
                "trials": len(values),
                "faults": float(group["faults"].mean()),
                "accuracy": float(values.mean()),
                "low": interval.low,
                "high": interval.high,
                "level": level,
                "method": interval.method,
                "unit": interval.unit,
            }
        )
    return pd.DataFrame(rows)
