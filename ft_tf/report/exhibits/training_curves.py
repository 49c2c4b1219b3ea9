"""Training and test accuracy per epoch, as the paper's Figure 1."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.report import display_names, paper, plot_styles
from ft_tf.report.display_names import OTHER, parts_of
from ft_tf.report.exhibits import Exhibit, Plot, register
from ft_tf.report.groups import Group
from ft_tf.report.plot_styles import Look
from ft_tf.report.replicates import mean_of
from ft_tf.report.tidy import Study, chance

_SERIES = ("train_accuracy", "test_accuracy", "accuracy")


class TrainingCurves(Exhibit):
    """One figure for each table, with a panel for each architecture; no table."""

    name = "training_curves"
    title = "Training curves (as the paper's Figure 1)"
    order = 17

    def plots(self, study: Study) -> Sequence[Plot]:
        """A figure for each table that has runs."""
        exhibits = [exhibit for exhibit in (*paper.TABLES, OTHER) if of_exhibit(study, exhibit)]
        return [
            Plot(
                f"curves_{exhibit}",
                f"Accuracy by epoch; {_title(exhibit)}",
                lambda exhibit=exhibit: draw_curves(study, exhibit),
            )
            for exhibit in exhibits
        ]


def _title(exhibit: str) -> str:
    return paper.EXHIBITS[exhibit].title if exhibit in paper.EXHIBITS else "other runs"


def of_exhibit(study: Study, exhibit: str) -> list[Group]:
    """Main groups of finished trained runs of an exhibit or of "other", in the paper's order."""
    rows = [row for row in study.by_row if parts_of(row)[0] == exhibit]
    rows = [row for row in rows if display_names.is_main(row, is_printed=paper.is_row(row))]
    return [
        group
        for row in sorted(rows, key=lambda row: (paper.place(row), row))
        for group in study.by_row[row]
        if group.finished and not group.is_circles
    ]


def draw_curves(study: Study, exhibit: str) -> Figure:
    """Training (solid) and test (dashed) accuracy; a star is the best checkpoint under attack.

    Where a run did not measure accuracies after each epoch, only the running training accuracy is
    drawn, and the legend says so. Several seeds: the mean, and the range as a band.
    """
    drawn = [group for group in of_exhibit(study, exhibit) if _history(group)]
    if not drawn:
        raise RunError(f"no training curves for {exhibit}: no finished run has a history")
    shown, looks = plot_styles.by_architecture(drawn), plot_styles.looks(drawn)
    stars = "; star: best under attack" if any(map(_best, drawn)) else ""
    title = plot_styles.exhibit_title(exhibit, f"Accuracy: train solid, test dashed{stars}")
    figure, axes = plot_styles.grid_of_panels(list(shown), title=title, height=3.4, share_y=True)
    for architecture, panel in axes.items():
        for group in shown[architecture]:
            _draw(panel, group, looks[group.key])
        counts = sorted({len(group.finished) for group in shown[architecture]})
        n = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        panel.set_title(f"{display_names.architecture(architecture)}, n={n}")
        panel.set_xlabel("epoch")
        panel.set_ylabel("accuracy, %")
        plot_styles.draw_chance(panel, chance(shown[architecture][0].config["dataset"]))
    plot_styles.legend_below(figure, axes.values(), columns=2)
    return figure


def _history(group: Group) -> dict[str, np.ndarray]:
    """Columns of accuracies as arrays [seeds, epochs], cut to the shortest history."""
    histories = [record.history for record in group.finished]
    names = [name for name in _SERIES if all(history.get(name) for history in histories)]
    if "train_accuracy" in names:
        names = [name for name in names if name != "accuracy"]
    found = {}
    for name in names:
        columns = [[np.nan if v is None else v for v in history[name]] for history in histories]
        epochs = min(map(len, columns))
        found[name] = np.asarray([column[:epochs] for column in columns], np.float64)
    return found


def _draw(axes: Axes, group: Group, look: Look) -> None:
    for name, values in _history(group).items():
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
    best = [record.best_checkpoint for record in group.finished if record.best_checkpoint]
    epoch, test = (mean_of(getattr(b, name) for b in best) for name in ("epoch", "test_accuracy"))
    if epoch is None or test is None or "test_accuracy" not in _history(group):
        return None
    return epoch, test


register(TrainingCurves())
