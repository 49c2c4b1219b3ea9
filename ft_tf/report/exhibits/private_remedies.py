"""What gives back the fault tolerance that DP-SGD costs, at the same epsilon: plan "remedies"."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from ft_tf import intervals
from ft_tf.effects.runs import FAULTS, Trained, measures, of_plan
from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.report import display_names, plot_styles, rendering
from ft_tf.report.exhibits import Column, Exhibit, Plot, register
from ft_tf.report.plot_styles import FAMILIES
from ft_tf.report.replicates import mean_ends, mean_of, why_not
from ft_tf.report.table import count, interval, number, number_3, points, text
from ft_tf.report.table import epsilon as shown_epsilon
from ft_tf.report.tidy import Study

LABEL = re.compile(r"(?P<plan>remedies(_cnn)?)-(?P<level>[\d.]+)-(?P<cell>[^-]+)")
TABLE_7, TABLE_7_ROW = re.compile("table_7-paper"), "table_7/fmnist_cnn/dpsgd/"
PARTNER = re.compile(r"table_[78]-paper-as_(?P<level>[\d.]+)")
PLAIN, RECOMMENDED = "plain", "recommended"
SETTINGS = ("seed", "learning_rate", "batch_size")
LEAST_EFFECT, MOST_COST, LEVEL = 0.05, 0.03, 0.05
"""A remedy: fewer points lost, test accuracy paid, and level of the test over cells (Holm)."""
PLANNED = {"remedies": 17, "remedies_cnn": 4}
"""Comparisons of one epsilon: last and averaged of eight trainings (CNNs: two), plain averaged."""


def _runs(records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """A line per run of the plans, and one for the average of its iterates."""
    found = list(of_plan(records, LABEL))
    # Plain DP-SGD of the CNNs is that of Table 7.
    cnns = {run.config["architecture"]: label for run, label in found if "_" in label["plan"]}
    for run, _ in of_plan(records, TABLE_7):
        levels = [row.removeprefix(TABLE_7_ROW) for row in run.rows]
        label = cnns.get(run.config["architecture"])
        if label and label["level"] in levels:
            found.append((run, {**label, "cell": PLAIN}))
    for record, label in found:
        if record.accuracy is None:
            continue
        cells = {"architecture": record.config["architecture"], **label}
        cells |= {"record": record.name, **{name: record.config[name] for name in SETTINGS}}
        cells |= {"epsilon": record.privacy.epsilon_claimed, "walk": None}
        yield cells | measures(record) | {"averaged": False, "walk": Trained(record).walk}
        if kept := record.averaged:
            names = ("accuracy", "parameters", "faults", "bit_errors")
            changed = dataclasses.replace(record, **{name: getattr(kept, name) for name in names})
            yield cells | measures(changed) | {"averaged": True}


def _cell(cell: str, averaged: bool) -> str:
    return f"{cell.replace('_', ' ')}{', averaged' if averaged else ''}"


def compared(records: Iterable[Record]) -> pd.DataFrame:
    """A line per network, epsilon and cell: means over seeds, differences from plain by the plan.

    Columns are those of `PrivateRemedies`; differences and costs are fractions.
    """
    runs = pd.DataFrame(_runs(list(records)))
    if not len(runs):
        return pd.DataFrame()
    lines = []
    for (network, level, plan), block in runs.groupby(
        ["architecture", "level", "plan"], sort=False
    ):
        plain = block[block["cell"].eq(PLAIN) & ~block["averaged"]].set_index("seed")
        found = [
            _line(cell, averaged, of_cell.set_index("seed"), plain)
            | {"architecture": network, "level": level}
            for (cell, averaged), of_cell in block.groupby(["cell", "averaged"], sort=False)
        ]
        known = [line["p"] for line in found]
        missing = PLANNED[plan] - sum(p == p for p in known)  # until they have run they count as 1
        for line, p in zip(found, intervals.holm([*known, *[1.0] * missing]), strict=False):
            outcome = _outcome(line, p)
            lines.append(line | {"p_holm": p, "missing": missing, "outcome": outcome})
    place = _order(runs["cell"]).index
    keys = ("architecture", "level", "cell", "averaged")
    lines.sort(key=lambda line: [*(place(line[k]) if k == "cell" else line[k] for k in keys)])
    return pd.DataFrame(lines)


class PrivateRemedies(Exhibit):
    """A line per network, epsilon and cell; differences are from plain DP-SGD with equal seeds."""

    name, order = "private_remedies", 65
    title = "Remedies for the fault tolerance that DP-SGD costs, at the same epsilon"
    columns = (
        Column("architecture", "network", format=display_names.architecture, is_text=True),
        Column("epsilon", "epsilon", format=shown_epsilon),
        Column(("cell", "averaged"), "training", "", _cell, is_text=True),
        Column("test", "test"),
        Column("cost", "minus plain", "test", points),
        Column("weights_10", "10% weights", "points lost"),
        Column("difference", "minus plain", "points lost", points),
        Column(("low", "high"), "95%", "points lost", interval),
        Column("units_10", "10% units", "points lost", priority=1),
        Column("int8", "int8 bits 1e-3", "points lost", priority=1),
        Column("weights_1", "1% weights", "points lost", priority=3),
        Column("deviation", "of weights", "deviation", number_3, 1),
        Column("walk", "of noise", "deviation", number_3, 2),
        Column("p_holm", "p (Holm)", format=number),
        Column("replicates", "n", format=count),
        Column("outcome", "", format=text),
    )
    details = (Column("p", "p alone (paired t)", format=number),)

    def frame(self, study: Study) -> pd.DataFrame:
        frame = study.computed(compared)
        frame.attrs["natural"] = natural_partners(study.records, frame) if len(frame) else []
        return frame

    def notes(self, frame: pd.DataFrame) -> list[str]:
        if not len(frame):
            return []
        natural, errors = frame.attrs["natural"], deviation_errors(frame)
        return rendering.notes(self.name, frame=frame, errors=errors, natural=natural)

    def plots(self, study: Study) -> Sequence[Plot]:
        return [Plot(self.name, self.title, lambda: draw_remedies(self.frame(study)))]


def natural_partners(records: Iterable[Record], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each network and noise multiplier: natural training stopped at plain DP-SGD's accuracy.

    They are the partners of the rows of Tables 7 and 8, which train as the plain cells do.
    """
    found = []
    partners = list(of_plan(records, PARTNER))
    for (network, level), block in frame.groupby(["architecture", "level"], sort=False):
        mine = [
            measures(run)
            for run, label in partners
            if (run.config["architecture"], label["level"]) == (network, level)
        ]
        lines = [line for line in mine if line["weights_10"] is not None]
        if lines:
            means = {name: mean_of([line[name] for line in lines]) for name in ("test", *FAULTS)}
            names = {"network": network, "level": level, "epsilon": block["epsilon"].iloc[0]}
            names["name"] = display_names.architecture(network)
            found.append({**names, **means, "replicates": len(lines)})
    return found


def deviation_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Relative errors of what is predicted for the weights' deviation, a line per decay cell.

    `plan`: sqrt(clip^2 + walk^2), as the plan has it, clip being what the noise leaves of plain
    DP-SGD's deviation; `noise`: the walk alone.
    """
    keys = ["architecture", "level"]
    plain = frame[frame["cell"].eq(PLAIN) & ~frame["averaged"]]
    plain = plain.assign(clip=plain["deviation"] ** 2 - plain["walk"] ** 2)[[*keys, "clip"]]
    decays = frame[frame["cell"].map(_is_decay) & ~frame["averaged"]].merge(plain, on=keys)
    planned = np.sqrt(decays["clip"] + decays["walk"].astype(float) ** 2)
    return pd.DataFrame(
        {
            "plan": decays["deviation"] / planned - 1,
            "noise": decays["deviation"] / decays["walk"].astype(float) - 1,
        }
    )


def _is_decay(cell: str) -> bool:
    return cell.startswith("decay_")


def _order(cells: pd.Series) -> list[str]:
    """Plain first, then paths of one setting by value."""

    def place(cell: str) -> tuple[bool, str, float]:
        name, _, value = cell.partition("_")
        try:
            return cell != PLAIN, name, float(value)
        except ValueError:
            return cell != PLAIN, cell, 0.0

    return sorted(cells.unique(), key=place)


def _line(cell: str, averaged: bool, runs: pd.DataFrame, plain: pd.DataFrame) -> dict[str, Any]:
    shared = runs.index.intersection(plain.index)
    names = ["weights_10", "test"]
    pairs = (runs.loc[shared, names] - plain.loc[shared, names]).astype(float).dropna()
    if cell == PLAIN and not averaged:
        pairs = pairs.iloc[:0]
    lost = pairs["weights_10"].tolist()
    low, high = mean_ends(lost)
    return {
        "cell": cell,
        "averaged": averaged,
        **{
            name: mean_of(runs[name].dropna())
            for name in ("test", *FAULTS, "deviation", "walk", "epsilon", *SETTINGS[1:])
        },
        "difference": mean_of(lost),
        "cost": mean_of(pairs["test"]),
        "low": low,
        "high": high,
        "p": math.nan if why_not(lost) else float(stats.ttest_1samp(lost, 0.0).pvalue),
        "replicates": len(runs),
        "records": " ".join(runs["record"]),
    }


def _outcome(line: dict[str, Any], p: float) -> str:
    """The plan's rule: interval and Holm's test in its favour, 5 points given back for under 3."""
    if line["high"] is None:
        return ""
    if not (p < LEVEL and _gives_back(line)):
        return "more lost" if line["low"] > 0 and p < LEVEL else ""
    return RECOMMENDED if line["cost"] > -MOST_COST else "gives back, costs too much"


def _gives_back(line: Mapping[str, Any]) -> bool:
    return line["high"] is not None and line["high"] < 0 and line["difference"] <= -LEAST_EFFECT


def promising(records: Iterable[Record]) -> list[tuple[pd.Series, pd.Series]]:
    """Returns (cell, plain) of each network and epsilon: the most accurate that gives enough back.

    First what passes the plan's whole rule, then without its Holm's test, for which see `p_holm`.
    Of an averaged cell `last_lost`, `last_test` and `last_p_holm` are those of the last iterates.
    `natural_lost` is that of `natural_partners`, or None; `least` is what loses least of what
    passes, or None where it is the cell; `elsewhere` has their lines on other networks.
    """
    records = list(records)
    frame, found = compared(records), []
    partners = natural_partners(records, frame) if len(frame) else []
    natural = {(line["network"], line["level"]): line["weights_10"] for line in partners}
    for key, block in frame.groupby(["architecture", "level"], sort=False) if len(frame) else ():
        is_plain = block["cell"].eq(PLAIN) & ~block["averaged"]
        others = block[block["cell"].ne(PLAIN)]
        enough = [line for _, line in others.iterrows() if _gives_back(line)]
        enough = [line for line in enough if line["cost"] > -MOST_COST]
        if enough:
            best = max(enough, key=lambda line: (line["outcome"] == RECOMMENDED, line["test"]))
            last = block[block["cell"].eq(best["cell"]) & ~block["averaged"]].iloc[0]
            names = {"weights_10": "lost", "test": "test", "p_holm": "p_holm"}
            more: dict[str, Any] = {f"last_{new}": last[old] for old, new in names.items()}
            passed = [line for line in enough if line["outcome"] == best["outcome"]]
            least = min(passed, key=lambda line: line["weights_10"])
            more |= {"natural_lost": natural.get(key), "least": None if least is best else least}
            more["elsewhere"] = _elsewhere(frame, [best] if least is best else [best, least])
            found.append((pd.concat([best, pd.Series(more)]), block[is_plain].iloc[0]))
    return found


def _elsewhere(frame: pd.DataFrame, cells: Sequence[pd.Series]) -> list[dict[str, Any]]:
    """For each other network with one of the cells: its name, what plain DP-SGD loses, the lines.

    Plain DP-SGD with the seeds of the first line.
    """
    found = []
    others = frame[frame["level"].eq(cells[0]["level"])]
    others = others[others["architecture"].ne(cells[0]["architecture"])]
    for network, block in others.groupby("architecture", sort=False):
        at = block.set_index(["cell", "averaged"])
        lines = [at.loc[key] for c in cells if (key := (c["cell"], c["averaged"])) in at.index]
        if lines:
            named = [{**line, "training": _cell(*line.name)} for line in lines]
            plain = lines[0]["weights_10"] - lines[0]["difference"]
            name = display_names.architecture(network)
            found.append({"name": name, "plain": plain, "lines": named})
    return found


def draw_remedies(frame: pd.DataFrame) -> Figure:
    """A panel per network and epsilon: test accuracy against points lost at 10% stuck weights.

    Hollow marks are averages of iterates; the dotted line joins what nothing else beats in both,
    the dashed one is natural training stopped at the accuracy of plain DP-SGD.
    """
    if not len(frame):
        raise RunError("no figure of remedies: no run of the plan is on record")
    blocks = list(frame.groupby(["architecture", "level"], sort=False))
    others = [cell for cell in _order(frame["cell"]) if not _is_decay(cell)][1:]
    shades = itertools.cycle(s for name in ("other", "trades", "tikhonov") for s in FAMILIES[name])
    of_others = dict(zip(others, shades, strict=False)) | {PLAIN: FAMILIES["natural"][0]}
    natural = {(line["network"], line["level"]): line for line in frame.attrs.get("natural", ())}
    figure, (panels,) = plot_styles.panels(1, len(blocks), title="Remedies for DP-SGD")
    for panel, ((network, level), block) in zip(panels, blocks, strict=True):
        labels = []
        decays = filter(_is_decay, _order(block["cell"]))  # the stronger, the later the shade
        colors = of_others | dict(zip(decays, itertools.cycle(FAMILIES["dpsgd"]), strict=False))
        if line := natural.get((network, level)):
            panel.axhline(100 * line["weights_10"], color=plot_styles.GRAY, lw=0.8, ls="--")
        for line in block.itertuples():
            color = colors[line.cell]
            x, y = 100 * line.test, 100 * line.weights_10
            face = "none" if line.averaged else color
            panel.plot(x, y, "o", color=color, markerfacecolor=face, markersize=6)
            if not line.averaged:
                labels.append((_cell(line.cell, False), color, x, y))
        best = block.sort_values("test", ascending=False)
        best = best[best["weights_10"].cummin().eq(best["weights_10"])]
        panel.plot(100 * best["test"], 100 * best["weights_10"], ":", color="0.6", zorder=0)
        plot_styles.label_points(panel, labels)
        epsilon = shown_epsilon(block["epsilon"].iloc[0])
        panel.set_title(f"{display_names.architecture(network)}, epsilon {epsilon}")
        panel.set(xlabel="test accuracy, %", ylabel="points lost at 10% stuck weights")
    return figure


register(PrivateRemedies())
