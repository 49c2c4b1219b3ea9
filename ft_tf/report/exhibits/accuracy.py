"""Accuracy and generalization error: a line for each row of the paper and each variant run."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ft_tf import intervals
from ft_tf.data.circles import PAPER_N_TEST
from ft_tf.errors import RunError
from ft_tf.report import display_names, paper, plot_styles
from ft_tf.report.display_names import OTHER, parts_of
from ft_tf.report.exhibits import Column, Exhibit, Plot, count, percent, points, register, text
from ft_tf.report.groups import SMOKE, Group
from ft_tf.report.paper import MEASURES
from ft_tf.report.replicates import EQUAL, LEVEL, deviation, why_not
from ft_tf.report.table import NOTHING, Line, epsilon, interval, is_missing, number
from ft_tf.report.tidy import Study

PREDICTION = ("generalization_error_prediction_low", "generalization_error_prediction_high")
FRAME = (
    "row", "paper_row", "run", "variant", "status", *(f"paper_{name}" for name in MEASURES),
    *MEASURES, *(f"{name}_sd" for name in MEASURES), "replicates", "replication_unit",
    *(f"{name}_difference" for name in MEASURES), *PREDICTION, "paper_generalization_error_inside",
    "form", "noise_multiplier", "epsilon", "epsilon_accounting", "epsilon_paper", "delta", "data",
    "deviations", "length", "breakdowns", "fitted", "smoke", "unjudged", "further_variance",
    "failures", "command", "note", "records",
)  # fmt: skip
_OF_GROUP = ("run", "form", "deviations", "breakdowns", "failures")
_SAMPLING = {"poisson": "Poisson sampling", "shuffle": "shuffled batches, unamplified"}


def accuracy_frame(study: Study, exhibit: str) -> pd.DataFrame:
    """Returns the paper's accuracies and ours for one exhibit of the paper, or for "other" runs.

    Accuracies, errors and differences (ours minus the paper's) are fractions.
    `generalization_error` is the mean over replicates, the column ending in _sd their sample
    standard deviation, and the prediction that of one further replicate, at 95%: what a single
    published run is to be compared with; newly drawn circles are tested on as few points as the
    paper's. Where the replicates allow none it is missing, for the reason in `unjudged`; runs of
    the scale "smoke" are not compared with the paper. `epsilon` is always the run's.
    """
    rows = () if exhibit == OTHER else paper.rows(exhibit)
    lines: list[dict[str, Any]] = []
    for row in rows:
        missing = {"status": "not run", "replicates": 0, "command": command_for(row)}
        found = [_line(study, row, group) for group in study.groups_for(row)]
        lines += found or [_printed(row) | missing]
    known = {row.id for row in rows}
    for row_id, groups in study.by_row.items():
        if parts_of(row_id)[0] == exhibit and row_id not in known:
            lines += [_line(study, None, group) for group in groups]
    return pd.DataFrame(lines, columns=list(FRAME))


def command_for(row: paper.PaperRow) -> str:
    """Returns the command that runs a row, and gets its data where no sample is embedded."""
    number = row.exhibit.removeprefix("table_") if row.exhibit in paper.TABLES else "4"
    command = f"python -m experiments.reproduce --tables={number}"
    return command + (" --data_dir=DIR --download" if row.dataset == "cifar10" else "")


def _printed(row: paper.PaperRow) -> dict[str, Any]:
    accuracies = {f"paper_{name}": getattr(row, name) for name in MEASURES}
    return {"row": row.id, "paper_row": row.label, "note": row.note, **accuracies}


def _line(study: Study, row: paper.PaperRow | None, group: Group) -> dict[str, Any]:
    own = {"row": group.row, "paper_row": display_names.own_row(group.row)}
    label = group.config.get("label")
    if parts_of(group.row)[0] == OTHER and label:
        network = display_names.architecture(group.config.get("architecture", ""))
        own["paper_row"] = f"{network} {group.run.split('; ')[0]}: {label}"
    return {
        **(_printed(row) if row else own | {"note": "not in the paper"}),
        **{name: getattr(group, name) for name in _OF_GROUP},
        **own_epsilon(group),
        "variant": study.variants[group.row, group.key],
        "status": "ran" if group.finished else "failed",
        "data": group.source,
        "length": _length(group),
        "fitted": group.is_fitted,
        "smoke": group.is_smoke,
        "records": group.names,
        **(_results(row, group) if group.finished else {"replicates": 0}),
    }


def _length(group: Group) -> str:
    """How long a training was that stopped early, or on CIFAR-10; "" elsewhere."""
    config = group.config
    if parts_of(group.row)[2] == display_names.STOPPED and group.steps:
        return f"{group.steps} steps"
    if config.get("dataset") != "cifar10":
        return ""
    official = display_names.OFFICIAL_EPOCHS.get(config["algorithm"]["name"])
    script = f" (its authors' script: {official})" if official else ""
    return f"{config['epochs']} epochs{script}"


def own_epsilon(group: Group) -> dict[str, Any]:
    """Cells with the epsilon of a DP group, never that of the row of the paper next to it.

    `epsilon` is the one that holds; where there is none `epsilon_accounting` says why.
    `epsilon_paper` is by the paper's accountant.
    """
    algorithm, stated = group.config.get("algorithm") or {}, group.privacy
    if "noise_multiplier" not in algorithm:
        return {}
    cells = {"noise_multiplier": algorithm["noise_multiplier"], "delta": algorithm.get("delta")}
    unknown = "no figure on record"
    if stated is None:
        return cells | {"epsilon_accounting": unknown}
    accounting = _SAMPLING.get(stated.sampling, stated.sampling)
    if stated.epsilon_claimed is None:
        accounting = stated.reasons.get("epsilon_claimed", unknown)
    cells |= {"epsilon": stated.epsilon_claimed, "epsilon_paper": stated.epsilon_paper}
    return cells | {"delta": stated.delta, "epsilon_accounting": accounting}


def _results(row: paper.PaperRow | None, group: Group) -> dict[str, Any]:
    samples = group.samples
    found: dict[str, Any] = {"replicates": len(samples), "replication_unit": samples.unit}
    for name in MEASURES:
        values, printed = getattr(samples, name), getattr(row, name, None)
        found[name] = statistics.fmean(values)
        found[f"{name}_sd"] = deviation(values)
        found[f"{name}_difference"] = None if printed is None else found[name] - printed
    errors, unit = samples.generalization_error, samples.unit
    found["unjudged"] = why_not(errors)
    if not found["unjudged"]:
        more = found["further_variance"] = _of_fewer_test_points(group)
        ends = intervals.prediction(errors, level=LEVEL, unit=unit, further_variance=more)
        found |= dict(zip(PREDICTION, (ends.low, ends.high), strict=True))
        printed = getattr(row, "generalization_error", None)
        if printed is not None and not group.is_smoke:
            found["paper_generalization_error_inside"] = ends.low <= printed <= ends.high
    return found


def _of_fewer_test_points(group: Group) -> float:
    """Variance of the paper's test accuracy on circles that ours, on newly drawn points, lacks.

    Its accuracy p on n points is binomial, p (1 - p) / n; ours are measured on far more points. On
    the paper's own points both are tested on the same ones.
    """
    if group.form != "redrawn_data":
        return 0.0
    ours = group.records[0].data.test_examples or PAPER_N_TEST
    scale = max(0.0, 1 / PAPER_N_TEST - 1 / ours)
    return scale * statistics.fmean(p * (1 - p) for p in group.samples.test)


def _remarks(*cells: Any) -> str:
    variant, length, breakdowns, own, is_fitted, is_smoke, unjudged, deviations = cells
    parts = (
        *map(text, (variant, length, breakdowns)),
        "" if is_missing(own) else f"epsilon {epsilon(own)}",
        "fitted" if is_fitted == 1 else "",
        f"not counted: {SMOKE}" if is_smoke == 1 else "",
        f"no prediction: {EQUAL}" if unjudged == EQUAL else "",
        f"unlike our preset at paper scale: {deviations}" if text(deviations) else "",
    )
    return "; ".join(filter(None, parts))


def _describe_epsilon(own: float, delta: float, accounting: str) -> str:
    if not text(accounting):
        return ""
    if is_missing(own):
        return f"none ({accounting})"
    return f"{epsilon(own)} at delta {number(delta)} ({accounting})"


def _deviations(unit: str, *values: float) -> str:
    if is_missing(values[0]):
        return ""
    return f"over {unit}s, train / test / gap: {' / '.join(map(percent, values))}"


class Accuracy(Exhibit):
    """A table of the paper with our runs, or our runs that belong to no table ("other")."""

    kind = "accuracy"
    columns = (
        Column("paper_row", "row", format=text),
        Column("paper_train", "train", "paper", priority=2),
        Column("paper_test", "test", "paper", priority=2),
        Column("paper_generalization_error", "gap", "paper"),
        Column("train", "train", "ours"),
        Column("test", "test", "ours"),
        Column("generalization_error", "gap", "ours"),
        Column("train_difference", "train", "difference", points, 4),
        Column("test_difference", "test", "difference", points, 4),
        Column("generalization_error_difference", "gap", "difference", points),
        Column(PREDICTION, "of our gap", "95% prediction", interval, 1),
        Column("paper_generalization_error_inside", "has the paper's", "95% prediction",
               lambda is_in: {True: "yes", False: "no"}.get(is_in, NOTHING), 3),
        Column("replicates", "n", format=count),
        Column(
            ("variant", "length", "breakdowns", "epsilon", "fitted", "smoke", "unjudged",
             "deviations"), "remarks", "", _remarks, 1, is_text=True,
        ),
    )  # fmt: skip
    details = (
        Column("command", "not run; run it with", format=text),
        Column("run", "configuration", format=text),
        Column("failures", "FAILED", format=text),
        Column("data", "data", format=text),
        Column(("epsilon", "delta", "epsilon_accounting"), "epsilon", "", _describe_epsilon),
        Column(("replication_unit", *(f"{name}_sd" for name in MEASURES)), "standard deviation",
               "", _deviations),
        Column("note", "note", format=text),
    )  # fmt: skip

    def __init__(self, name: str, order: int) -> None:
        self.name, self.order = name, order
        self.title = "Runs next to the paper's rows"
        if name != OTHER:
            printed = paper.EXHIBITS[name]
            self.title = f"{printed.title}: {printed.caption}"

    def parts(self, study: Study) -> Sequence[Exhibit]:
        is_empty = not any(parts_of(row)[0] == OTHER for row in study.by_row)
        return [] if self.name == OTHER and is_empty else [self]

    def frame(self, study: Study) -> pd.DataFrame:
        return accuracy_frame(study, self.name)

    def plots(self, study: Study) -> Sequence[Plot]:
        if self.name.startswith("figure"):
            return []
        caption = f"Train minus test accuracy, the paper's (cross) and ours (dot); {self.title}"
        return [Plot(f"gaps_{self.name}", caption, lambda: draw_gaps(study, self.name, self.title))]


def draw_gaps(study: Study, exhibit: str, title: str) -> Figure:
    """Draws the paper's gap as a cross, ours as a dot with its 95% prediction interval."""
    frame = accuracy_frame(study, exhibit)
    frame = frame[frame["generalization_error"].notna()]
    if not len(frame):
        raise RunError(f"no gap figure for {exhibit}: no finished run of its rows is on record")
    figure, ((axes,),) = plot_styles.panels(1, 1, title=f"Generalization error\n{title}")
    figure.set_size_inches(6.9, 1.4 + 0.33 * len(frame))
    places = np.arange(len(frame))[::-1]
    columns = ["paper_generalization_error", "generalization_error", *PREDICTION]
    printed, ours, low, high = (100 * frame[columns].astype(float)).to_numpy().T
    color = plot_styles.OURS
    axes.hlines(places, low, high, color=color, linewidth=2.2)
    axes.plot(printed, places, "x", color=plot_styles.PAPER, markersize=6.5, label="paper")
    axes.plot(ours, places, "o", color=color, markersize=5.3, label="ours")
    axes.set_yticks(places, [_tick(line) for line in frame.to_dict("records")], fontsize=8)
    axes.set_ylim(-0.7, len(frame) - 0.3)
    axes.axvline(0, color=plot_styles.GRAY, linewidth=0.8)
    axes.set_xlabel("train minus test accuracy, points\nbars: 95% prediction interval")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return figure


def _tick(line: Line) -> str:
    """The row, and below it what distinguishes our run from it, of a DP run its epsilon.

    Of a run that belongs to no row its label, and below it its algorithm.
    """
    described, _, label = line["paper_row"].partition(": ")
    if label and parts_of(line["row"])[0] == OTHER:
        return f"{label}, n={line['replicates']}\n{described}"
    parts = [text(line["variant"])[:46]]
    if text(line["epsilon_accounting"]):
        own = "none" if is_missing(line["epsilon"]) else epsilon(line["epsilon"]).removeprefix("- ")
        parts.append(f"ours: epsilon {own}")
    parts += ["fitted"] if line["fitted"] else []
    below = ", ".join(filter(None, parts))
    return f"{line['paper_row']}, n={line['replicates']}" + (f"\n{below}" if below else "")


for _place, _name in enumerate(paper.EXHIBITS):
    if _name not in ("figure_2", "figure_3"):
        register(Accuracy(_name, order=10 + _place))
register(Accuracy(OTHER, order=90))
