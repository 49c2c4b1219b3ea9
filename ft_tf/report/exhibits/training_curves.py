"""Training and test accuracy per epoch, as the paper's Figure 1."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.report import display_names, plot_styles
from ft_tf.report.exhibits import Exhibit, Plot, Study, per_architecture, register
from ft_tf.report.groups import Group
from ft_tf.report.plot_styles import Look
from ft_tf.report.replicates import mean_of

_CAPTION = "Accuracy by epoch: train solid, test dashed; star: best checkpoint under attack"
_SERIES = ("train_accuracy", "test_accuracy", "accuracy")


class TrainingCurves(Exhibit):
    """A figure for each architecture; no table."""

    name, order = "training_curves", 17
    title = "Training curves (as the paper's Figure 1)"

    def plots(self, study: Study) -> Sequence[Plot]:
        return per_architecture(study, "curves", _CAPTION, draw_curves)


def draw_curves(study: Study, architecture: str) -> Figure:
    """Training (solid) and test (dashed) accuracy; a star is the best checkpoint under attack.

    Where a run did not measure accuracies after each epoch, only the running training accuracy is
    drawn, and the legend says so. Several seeds: the mean, and the range as a band.
    """
    groups = study.main_groups(architecture)
    histories = {group: history for group in groups if (history := _history(group))}
    if not histories:
        raise RunError(f"no training curves for {architecture}: no finished run has a history")
    looks = plot_styles.looks(list(histories))
    title = f"{display_names.describe_architecture(architecture)}: train solid, test dashed"
    figure, ((axes,),) = plot_styles.panels(1, 1, title=title, height=3.4, width=5.0)
    for group, history in histories.items():
        _draw(axes, group, history, looks[group.key])
    axes.set(xlabel="epoch", ylabel="accuracy, %")
    plot_styles.label_lines(axes)
    return figure


def _history(group: Group) -> dict[str, np.ndarray]:
    """Columns of accuracies as arrays [seeds, epochs], cut to the shortest history."""
    histories = [record.history for record in group.finished]
    names = [name for name in _SERIES if all(history.get(name) for history in histories)]
    if "train_accuracy" in names:
        names = [name for name in names if name != "accuracy"]
    epochs = min((len(history[name]) for history in histories for name in names), default=0)
    return {name: np.array([h[name][:epochs] for h in histories], np.float64) for name in names}


def _draw(axes: Axes, group: Group, history: dict[str, np.ndarray], look: Look) -> None:
    for name, values in history.items():
        epochs = np.arange(1, values.shape[1] + 1)
        addition = ": running train only" if name == "accuracy" else ""
        style = {"linestyle": "-", "label": f"{look.name}{addition}"}
        if name == "test_accuracy":
            style = {"linestyle": "--"}
        marker = "." if len(epochs) < 8 else None
        axes.plot(epochs, 100 * values.mean(axis=0), color=look.color, marker=marker, **style)
        if len(values) > 1:
            low, high = 100 * values.min(axis=0), 100 * values.max(axis=0)
            axes.fill_between(epochs, low, high, color=look.color, alpha=0.15, linewidth=0)
    best = [record.best_checkpoint for record in group.finished if record.best_checkpoint]
    if best and "test_accuracy" in history:
        epoch = mean_of(checkpoint.epoch for checkpoint in best)
        test = 100 * mean_of(checkpoint.test_accuracy for checkpoint in best)
        axes.plot(epoch, test, marker="*", markersize=10, color=look.color, linestyle="")


register(TrainingCurves())
