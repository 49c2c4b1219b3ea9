"""A campaign's table as the part of a record."""

import pandas as pd

from ft_tf import records
from ft_tf.faults.rows import interval_of
from ft_tf.faults.summary import summarize

_EPSILON_FT_RATES = (0.1, 0.5)


def to_record(frame: pd.DataFrame, *, sites: int) -> records.Campaign:
    """Returns accuracy against the rate of faults, with intervals over trials.

    Args:
        frame: rows of `sweep` for one target, without a stop rule.
        sites: number of places where a fault may be.
    """
    summary = summarize(frame)
    first = summary.iloc[0]
    levels = dict(zip(summary["rate"], summary["accuracy"], strict=True))
    drop = None
    if 0.5 in levels and 0.9 in levels:
        drop = records.Drop(levels[0.5] - levels[0.9], at_50=levels[0.5], at_90=levels[0.9])
    return records.Campaign(
        rates=tuple(summary["rate"]),
        faults=tuple(summary["faults"]),
        mean=tuple(summary["accuracy"]),
        standard_deviation=tuple(frame.groupby("rate")["accuracy"].std(ddof=1)),
        low=tuple(summary["low"].clip(0, 1)),
        high=tuple(summary["high"].clip(0, 1)),
        trials=int(first["trials"]),
        images=frame.attrs["images_per_trial"],
        sites=sites,
        method=first["method"],
        unit=first["unit"],
        lost=_lost(frame, summary),
        level=float(first["level"]),
        drop_50_to_90=drop,
        epsilon_ft=_epsilon_ft(frame),
        target=first["target"],
        seed=int(frame["seed"].iloc[0]),
    )


def _lost(frame: pd.DataFrame, summary: pd.DataFrame) -> records.Lost:
    """Accuracy lost at each rate: the mean over trials and its 95% interval (Student's t).

    Each trial is set against the fault-free accuracy on its own images, so that what is lost at the
    lowest rates does not carry the difference of image subsets. One trial shows no spread: its
    interval is all that a loss can be.
    """
    found = [
        interval_of(rate, losses.tolist(), level=0.95, method="student")
        for rate, losses in frame.groupby("rate")["accuracy_lost"]
    ]
    return records.Lost(
        mean=tuple(summary["accuracy_lost"]),
        low=tuple(max(interval.low, -1.0) for interval in found),
        high=tuple(min(interval.high, 1.0) for interval in found),
    )


def _epsilon_ft(frame: pd.DataFrame) -> tuple[records.EpsilonFt, ...]:
    """Equation 1's epsilon_ft: quantiles over test images, averaged over the campaign's trials."""
    means = frame.groupby("rate").mean(numeric_only=True)

    def quantiles(rate: float, measure: str) -> dict[str, float]:
        columns = {"0.5": f"{measure}_50", "0.95": f"{measure}_95"}
        return {quantile: means.loc[rate, column] for quantile, column in columns.items()}

    return tuple(
        records.EpsilonFt(rate, quantiles(rate, "total_variation"), quantiles(rate, "logit_change"))
        for rate in _EPSILON_FT_RATES
        if rate in means.index
    )
