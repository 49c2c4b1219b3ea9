"""The plot of trade-off curves: what a membership test on a run can find."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ft_tf.privacy import TradeOff

_LEAST = 1e-4


def save(path: Path, curves: Mapping[str, TradeOff]) -> None:
    """Draws the largest true positive rate at each false positive rate, on logarithmic axes.

    Args:
        path: of the PNG file.
        curves: by the text of the legend.
    """
    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axes = figure.subplots()
    rates = np.geomspace(_LEAST, 1, 200)
    for name, curve in curves.items():
        axes.plot(rates, curve.true_positive_rate(rates), label=name)
    axes.plot(rates, rates, color="0.5", linestyle=":", linewidth=1, label="guessing")
    axes.set(
        xscale="log", yscale="log", xlim=(_LEAST, 1), ylim=(_LEAST, 1.1),
        xlabel="others taken for members (false positive rate)",
        ylabel="members found, at most (true positive rate)",
        title="Every test whether one example was trained on",
    )  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
