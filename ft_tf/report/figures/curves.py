"""Training and test accuracy per epoch, as the paper's Figure 1."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.report import labels
from ft_tf.report.figures.looks import Look, by_architecture, looks, of_exhibit
from ft_tf.report.figures.style import legend_below, panels, title_of
from ft_tf.report.groups import Group
from ft_tf.report.measures import mean_of

_KINDS = {"train_accuracy": "train", "test_accuracy": "test", "accuracy": "running train"}


def curves(records: Sequence[Record], exhibit: str) -> Figure:
    """Training (solid) and test (dashed) accuracy; a star is the best checkpoint under attack.

    Where a run did not measure accuracies after each epoch, the running training accuracy stands
    alone, and the legend says so. Several seeds: the mean, and the range as a band.
    """
    drawn = [group for group in of_exhibit(records, exhibit) if _history(group)]
    if not drawn:
        raise RunError(f"no training curves for {exhibit}: no finished run has a history")
    shown, found = by_architecture(drawn), looks(drawn)
    columns = min(len(shown), 2)
    rows = math.ceil(len(shown) / columns)
    stars = "; star: best under attack" if any(map(_best, drawn)) else ""
    title = title_of(exhibit, f"Accuracy: train solid, test dashed{stars}")
    figure, axes = panels(rows, columns, title=title, height=3.4, width=4.8, share_y=True)
    flat = [panel for row in axes for panel in row]
    for panel, (architecture, groups) in zip(flat, shown.items(), strict=False):
        for group in groups:
            _draw(panel, group, found[group.key])
        panel.set_title(f"{labels.architecture(architecture)}, n={_counts(groups)}")
        panel.set_xlabel("epoch")
        panel.set_ylabel("accuracy, %")
    for spare in flat[len(shown) :]:
        spare.set_axis_off()
    legend_below(figure, flat, columns=2)
    return figure


def _counts(groups: Sequence[Group]) -> str:
    """Seeds of each group, or their range."""
    counts = sorted({len(group.finished) for group in groups})
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def _history(group: Group) -> dict[str, np.ndarray]:
    """Columns of accuracies as arrays [seeds, epochs], cut to the shortest history."""
    histories = [record["history"] for record in group.finished]
    names = [name for name in _KINDS if all(history.get(name) for history in histories)]
    if "train_accuracy" in names:
        names = [name for name in names if name != "accuracy"]
    found = {}
    for name in names:
        columns = [[np.nan if v is None else v for v in history[name]] for history in histories]
        epochs = min(map(len, columns))
        found[name] = np.asarray([column[:epochs] for column in columns], np.float64)
    return found


def _draw(axes: Axes, group: Group, look: Look) -> None:
    history = _history(group)
    for name, values in history.items():
        epochs = np.arange(1, values.shape[1] + 1)
        addition = ": running train only" if name == "accuracy" else ""
        axes.plot(
            epochs,
            100 * values.mean(axis=0),
            color=look.color,
            linestyle="--" if name == "test_accuracy" else "-",
            marker="." if len(epochs) < 8 else None,
            label=f"{look.name}{addition}" if name != "test_accuracy" else None,
        )
        if len(values) > 1:
            low, high = 100 * values.min(axis=0), 100 * values.max(axis=0)
            axes.fill_between(epochs, low, high, color=look.color, alpha=0.15, linewidth=0)
    best = _best(group)
    if best is not None:
        epoch, test = best
        axes.plot(epoch, 100 * test, marker="*", markersize=10, color=look.color, linestyle="")


def _best(group: Group) -> tuple[float, float] | None:
    """Mean epoch and test accuracy of the best checkpoints, where the test curve is drawn."""
    best = [record.get("best_checkpoint") or {} for record in group.finished]
    epoch, test = (mean_of(b.get(key) for b in best) for key in ("epoch", "test_accuracy"))
    if epoch is None or test is None or "test_accuracy" not in _history(group):
        return None
    return epoch, test
