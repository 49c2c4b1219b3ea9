"""Figures from records: gaps, training curves, parameters and fault curves, each as one PNG.

The same records give the same bytes: the style is fixed here, not by the user's matplotlibrc, and
the files carry no metadata. Colours are Okabe and Ito's, told apart by the colour-blind too; line
styles and markers repeat what colours say, for print without colour.
"""

import dataclasses
import io
import itertools
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.report import labels, measures, paper
from ft_tf.report.groups import OTHER, Group, groups_by_row
from ft_tf.report.tables import accuracy_frame

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "savefig.dpi": 130,
}
_LOG_RATE = 0.05  # rates up to here are what the log axis is for
_MIN_LOG_RATES = 3
_MIN_DENSITY = 1e-5
_TICK_LENGTH = 48


def draw(kind: str, records: Iterable[Record], exhibit: str) -> bytes:
    """One figure as PNG.

    Args:
        kind: one of `KINDS`.
        records: any records; those for other exhibits are ignored.
        exhibit: id of a table, such as "table_5", or "other" for runs that belong to none.

    Raises:
        RunError: the records hold nothing to draw; the line says what is missing.
    """
    style = {**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}
    with matplotlib.rc_context({key: style[key] for key in style if key not in _NOT_STYLE}):
        figure = KINDS[kind](list(records), exhibit)
        FigureCanvasAgg(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


_NOT_STYLE = ("interactive", "toolbar", "timezone", "webagg.port", "tk.window_focus")


def _panels(
    count: int, *, title: str, height: float = 4.2, share_y: bool = True
) -> tuple[Figure, list[Axes]]:
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.6 * columns + 0.4, height * rows + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=10, fontweight="bold")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y).ravel().tolist()
    for panel in axes[:count]:
        panel.tick_params(labelleft=True)  # sharing would hide it
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


@dataclasses.dataclass(frozen=True)
class _Look:
    """How a group is drawn: `place` chooses colour and marker, `name` goes into the legend."""

    place: int
    name: str

    @property
    def color(self) -> str:
        return PALETTE[self.place % len(PALETTE)]

    @property
    def marker(self) -> str:
        return MARKERS[self.place % len(MARKERS)]


def _groups(records: Sequence[Record], exhibit: str) -> list[Group]:
    """Groups of finished trained runs of an exhibit or of "other", in the paper's order of rows."""
    grouped = groups_by_row(records)
    rows = () if exhibit == OTHER else paper.rows(exhibit)
    order = {row.id: index for index, row in enumerate(rows)}
    ids = [row for row in grouped if row.split("/")[0] == exhibit]
    ids.sort(key=lambda row: (order.get(row, len(order)), row))
    return [
        group
        for row in ids
        for group in grouped[row]
        if group.finished and group.any_record["kind"] == "run"
    ]


def _by_architecture(groups: Sequence[Group]) -> dict[str, list[Group]]:
    panels: dict[str, list[Group]] = {}
    for group in groups:
        panels.setdefault(group.any_record["config"]["architecture"], []).append(group)
    return panels


def _looks(groups: Sequence[Group]) -> dict[str, _Look]:
    """Key of each group -> its look; one algorithm and setting looks the same in all panels."""
    names = labels.short_runs(groups)
    places = {text: place for place, text in enumerate(dict.fromkeys(names.values()))}
    return {key: _Look(places[text], text) for key, text in names.items()}


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1)


def _title(exhibit: str, text: str) -> str:
    if exhibit == OTHER:
        return f"{text}\nRuns beside the paper's rows"
    known = paper.EXHIBITS[exhibit]
    return f"{text}\n{known.title}: {known.caption}"


def gaps(records: Sequence[Record], exhibit: str) -> Figure:
    """Each row's gap: the paper's as a cross, ours as a dot with its 95% prediction interval."""
    frame = accuracy_frame(records, exhibit)
    frame = frame[frame["gap"].notna()]
    if not len(frame):
        raise RunError(f"no gap figure for {exhibit}: no finished run of its rows is on record")
    figure, (axes,) = _panels(1, title=_title(exhibit, "Generalization error"), height=1.2)
    figure.set_size_inches(7.2, 1.5 + 0.42 * len(frame))
    places = np.arange(len(frame))[::-1]
    for place, line in zip(places, frame.to_dict("records"), strict=True):
        _whisker(axes, place, line)
    axes.scatter(
        100 * frame["paper_gap"].astype(float),
        places,
        marker="x",
        s=42,
        color=PALETTE[1],
        linewidths=1.8,
        label="paper",
        zorder=3,
    )
    axes.scatter(
        100 * frame["gap"].astype(float), places, s=28, color=PALETTE[0], label="ours", zorder=4
    )
    axes.set_yticks(places, [_tick(line) for line in frame.to_dict("records")])
    axes.set_ylim(-0.7, len(frame) - 0.3)
    axes.axvline(0, color="#666666", linewidth=0.8)
    axes.set_xlabel("train minus test accuracy, points; bars: 95% prediction interval")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _whisker(axes: Axes, place: float, line: dict[str, float]) -> None:
    low, high = line["gap_prediction_low"], line["gap_prediction_high"]
    if pd.notna(low):
        axes.plot([100 * low, 100 * high], [place, place], color=PALETTE[0], linewidth=2.2)


def _tick(line: dict[str, Any]) -> str:
    """The row, and below it what tells our run from it, of a DP run its own epsilon."""
    parts = [line["variant"][:_TICK_LENGTH]] if line["variant"] else []
    if isinstance(line["epsilon_accounting"], str):
        own = "none" if pd.isna(line["epsilon"]) else f"{line['epsilon']:.4g}"
        parts.append(f"ours: epsilon {own}")
    parts += ["fitted"] if line["fitted"] else []
    below = f"\n{', '.join(parts)}" if parts else ""
    return f"{line['paper_row']}, n={line['replicates']}{below}"


def curves(records: Sequence[Record], exhibit: str) -> Figure:
    """Training (solid) and test (dashed) accuracy per epoch, as the paper's Figure 1.

    Where a run did not measure accuracies after each epoch, the running training accuracy stands
    alone, and the legend says so. Several seeds: the mean, and the range as a band.
    """
    drawn = [group for group in _groups(records, exhibit) if _history(group)]
    panels, looks = _by_architecture(drawn), _looks(drawn)
    if not panels:
        raise RunError(f"no training curves for {exhibit}: no finished run has a history")
    figure, axes = _panels(len(panels), title=_title(exhibit, "Training curves"))
    for panel, (architecture, groups) in zip(axes, panels.items(), strict=True):
        for group in groups:
            _draw_curves(panel, group, looks[group.key])
        panel.set_title(labels.architecture(architecture))
        panel.set_xlabel("epoch")
        panel.set_ylabel("accuracy, %")
        _legend(panel)
    return figure


def _history(group: Group) -> dict[str, np.ndarray]:
    """Columns of accuracies as arrays [seeds, epochs], cut to the shortest history."""
    histories = [record["history"] for record in group.finished]
    names = [
        name
        for name in ("train_accuracy", "test_accuracy", "accuracy")
        if all(history.get(name) for history in histories)
    ]
    if "train_accuracy" in names:
        names = [name for name in names if name != "accuracy"]
    found = {}
    for name in names:
        columns = [[np.nan if v is None else v for v in history[name]] for history in histories]
        epochs = min(map(len, columns))
        found[name] = np.asarray([column[:epochs] for column in columns], np.float64)
    return found


def _draw_curves(axes: Axes, group: Group, look: _Look) -> None:
    for name, values in _history(group).items():
        epochs = np.arange(1, values.shape[1] + 1)
        is_test = name == "test_accuracy"
        kind = {"train_accuracy": "train", "test_accuracy": "test", "accuracy": "running train"}
        axes.plot(
            epochs,
            100 * values.mean(axis=0),
            color=look.color,
            linestyle="--" if is_test else "-",
            marker="." if len(epochs) < 8 else None,
            label=f"{look.name}: {kind[name]}",
        )
        if len(values) > 1:
            axes.fill_between(
                epochs,
                100 * values.min(axis=0),
                100 * values.max(axis=0),
                color=look.color,
                alpha=0.15,
                linewidth=0,
            )


def parameters(records: Sequence[Record], exhibit: str) -> Figure:
    """Histograms of all trained parameters on a log axis, as the paper's Figure 2.

    Of several seeds the first is drawn; the legend's sigma is the mean over all of them.
    """
    drawn = [group for group in _groups(records, exhibit) if _first_spread(group) is not None]
    panels, looks = _by_architecture(drawn), _looks(drawn)
    if not panels:
        raise RunError(f"no parameter histograms for {exhibit}: no finished run has a histogram")
    figure, axes = _panels(len(panels), title=_title(exhibit, "Trained parameters"), share_y=False)
    for panel, (architecture, groups) in zip(axes, panels.items(), strict=True):
        for group in groups:
            _draw_histogram(panel, group, looks[group.key])
        panel.set_yscale("log")
        panel.set_ylim(bottom=_MIN_DENSITY)
        panel.set_title(labels.architecture(architecture))
        panel.set_xlabel("parameter value")
        panel.set_ylabel("share of parameters per bin width")
        _legend(panel)
    return figure


def _first_spread(group: Group) -> dict[str, list[float]] | None:
    for record in group.finished:
        spread = record["parameters"]
        if spread and spread.get("bin_counts") and sum(spread["bin_counts"]):
            return spread
    return None


def _draw_histogram(axes: Axes, group: Group, look: _Look) -> None:
    spread = _first_spread(group)
    counts = np.asarray(spread["bin_counts"], np.float64)
    edges = np.asarray(spread["bin_edges"], np.float64)
    sigma = statistics.fmean(
        record["parameters"]["standard_deviation"]
        for record in group.finished
        if record["parameters"]
    )
    axes.stairs(
        counts / counts.sum() / np.diff(edges),
        edges,
        color=look.color,
        linestyle=("-", "--", "-.", ":")[look.place % 4],
        linewidth=1.4,
        label=f"{look.name}: sigma {sigma:.4g}",
    )


def faults(records: Sequence[Record], exhibit: str) -> Figure:
    """Accuracy against the share of stuck-at-0 faults, as the paper's Figure 3, with 95% bands."""
    return _fault_panels(records, exhibit, is_log=False)


def faults_log(records: Sequence[Record], exhibit: str) -> Figure:
    """The low fault rates of the same campaigns, on a log axis."""
    return _fault_panels(records, exhibit, is_log=True)


def _fault_panels(records: Sequence[Record], exhibit: str, *, is_log: bool) -> Figure:
    panels: dict[tuple[str, str], list[tuple[Group, pd.DataFrame]]] = {}
    found = _groups(records, exhibit)
    looks = _looks(found)
    for architecture, groups in _by_architecture(found).items():
        for group in groups:
            for target in measures.targets_of(group):
                curve = _part(measures.fault_curve(group, target), is_log=is_log)
                if len(curve):
                    panels.setdefault((architecture, target), []).append((group, curve))
    if not panels:
        wanted = f"{_MIN_LOG_RATES} rates in (0, {_LOG_RATE}]" if is_log else "two fault rates"
        raise RunError(f"no fault curves for {exhibit}: no finished run has {wanted}")
    figure, axes = _panels(len(panels), title=_title(exhibit, "Stuck-at-0 faults"))
    for panel, ((architecture, target), drawn) in zip(axes, panels.items(), strict=True):
        for group, curve in drawn:
            _draw_faults(panel, group, curve, looks[group.key], scale=1 if is_log else 100)
        if is_log:
            panel.set_xscale("log")
        panel.set_title(f"{labels.architecture(architecture)}: {target}")
        panel.set_xlabel(f"share of {target} stuck at 0" + ("" if is_log else ", %"))
        panel.set_ylabel("test accuracy, %")
        _legend(panel)
    return figure


def _part(curve: pd.DataFrame, *, is_log: bool) -> pd.DataFrame:
    if not is_log:
        return curve if len(curve) > 1 else curve.iloc[:0]
    low = curve[(curve["rate"] > 0) & (curve["rate"] <= _LOG_RATE)]
    return low if len(low) >= _MIN_LOG_RATES else curve.iloc[:0]


def _draw_faults(axes: Axes, group: Group, curve: pd.DataFrame, look: _Look, *, scale: int) -> None:
    rates = scale * curve["rate"].astype(float)
    axes.plot(
        rates,
        100 * curve["mean"].astype(float),
        label=f"{look.name}, n={len(group.finished)}",
        color=look.color,
        marker=look.marker,
    )
    low, high = curve["low"].astype(float), curve["high"].astype(float)
    if low.notna().any():
        axes.fill_between(rates, 100 * low, 100 * high, color=look.color, alpha=0.18, linewidth=0)


KINDS = {
    "gaps": gaps,
    "curves": curves,
    "parameters": parameters,
    "faults": faults,
    "faults_log": faults_log,
}
CAPTIONS = {
    "gaps": "Gaps, the paper's and ours",
    "curves": "Training curves (as the paper's Figure 1)",
    "parameters": "Trained parameters (as the paper's Figure 2)",
    "faults": "Accuracy against fault rate (as the paper's Figure 3)",
    "faults_log": "Accuracy at low fault rates",
}


def draw_all(records: Iterable[Record]) -> tuple[dict[str, bytes], list[str]]:
    """Every figure that the records allow, and for every other one a line saying why not.

    Returns:
        {file name: PNG}, and the lines. A table without any record gives one line in all.
    """
    records = list(records)
    drawn: dict[str, bytes] = {}
    skipped: list[str] = []
    tables = [exhibit for exhibit in paper.EXHIBITS if exhibit.startswith("table")]
    has_others = any(row.split("/")[0] == OTHER for row in groups_by_row(records))
    for exhibit, kind in itertools.product([*tables, *[OTHER] * has_others], KINDS):
        is_circles = exhibit != OTHER and paper.EXHIBITS[exhibit].dataset == "circles"
        if kind != "gaps" and (is_circles or f"gaps_{exhibit}.png" not in drawn):
            continue
        try:
            drawn[f"{kind}_{exhibit}.png"] = draw(kind, records, exhibit)
        except RunError as error:
            skipped.append(str(error))
    return drawn, skipped
