"""Is the generalization error a proxy for fault tolerance: plan "proxy"."""

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ft_tf.effects.runs import Trained, of_plan
from ft_tf.records import Record, Run
from ft_tf.report.exhibits import Column, Exhibit, register
from ft_tf.report.plot_styles import FAMILIES
from ft_tf.report.table import NOTHING, count, is_missing, number_3, text
from ft_tf.report.tidy import Study

LABEL = re.compile(
    r"proxy-(?P<reading>stopped|end)-rate_(?P<rate>[\d.]+)-batch_(?P<batch>\d+)-l2_(?P<l2>[\de.-]+)"
    r"-dropout_(?P<dropout>[\d.]+)-width_(?P<width>\d+)"
)
AXES = {
    "rate": "learning rate", "batch": "batch size", "l2": "l2 penalty", "dropout": "dropout",
    "width": "width",
}  # fmt: skip
STOPPED_AT = 0.88
PRIMARY = "weights_10"
CONFIGURATIONS = 108
OUTCOMES = {
    "weights_10": "10% weights", "weights_1": "1% weights", "units_10": "10% units",
    "int8": "int8 bits 1e-3", "float32": "float32 bits 1e-5",
}  # fmt: skip
PREDICTORS = {
    "gap": "gap", "test": "test accuracy", "train_loss": "training loss", "test_loss": "test loss",
    "deviation": "deviation of the parameters", "largest_weight": "largest weight",
    "path_norm": "path norm", "margin": "margin", "sharpness": "sharpness",
    "robust": "accuracy under PGD-20", "first_order": "first-order prediction",
}  # fmt: skip
_DRAWS = 2_000


def runs_of(records: Iterable[Record]) -> pd.DataFrame:
    """A line per run of the plan: axes, outcomes, predictors.

    `attrs["left_out"]` names the runs that failed, and those of the stopped reading that did not
    reach the accuracy.
    """
    lines, left_out = [], []
    for record, label in of_plan(records, LABEL):
        went_on = record.training.epochs == record.config["epochs"]
        must_reach = label["reading"] == "stopped" and went_on
        if record.accuracy is None or (must_reach and record.accuracy.train < STOPPED_AT):
            left_out.append(record.name)
        else:
            lines.append(_line(record) | label | {"seed": record.config["seed"]})
    frame = pd.DataFrame(lines)
    frame.attrs["left_out"] = left_out
    return frame


def _line(record: Run) -> dict[str, Any]:
    run = Trained(record)
    found = {"record": record.name, **run.lost_by_fault, "gap": run.gap, "test": run.test}
    found["deviation"] = record.parameters.standard_deviation
    found["robust"] = record.robustness[0].robust_accuracy if record.robustness else None
    return found | (record.predictors or {})


Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def pair_weights(runs: pd.DataFrame, axes: Collection[str] = tuple(AXES)) -> Pairs:
    """The pairs (i, j) of runs that differ in one axis alone, and how much each counts.

    Runs of one seed and equal other axes form a group. A group's pairs share its weight equally,
    the groups of an axis that of the axis, and all of `axes` weigh the same.
    """
    pairs, weight = [], []
    for axis in axes:
        others = [name for name in AXES if name != axis]
        groups = runs.groupby([*others, "seed"]).indices.values()
        groups = [list(itertools.combinations(rows, 2)) for rows in groups if len(rows) > 1]
        for group in groups:
            pairs += group
            weight += [1 / len(group) / len(groups)] * len(group)
    return *np.array(pairs, int).reshape(-1, 2).T, np.array(weight) / len(axes)


def granulated_tau(
    predictor: np.ndarray, outcome: np.ndarray, pairs: Pairs, counts: np.ndarray | None = None
) -> np.ndarray:
    """Granulated Kendall's tau (Jiang et al. 2020): weighted mean of concordance over pairs.

    Of values [runs] and the pairs of `pair_weights`. For the bootstrap, `counts` [..., runs] is how
    often each run was drawn; tau then is [...], NaN where no pair was drawn.

    >>> runs = pd.DataFrame({"rate": [1, 2, 3], "batch": 1, "l2": 1, "dropout": 1, "width": 1})
    >>> pairs = pair_weights(runs.assign(seed=0))
    >>> round(float(granulated_tau(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]), pairs)), 3)
    0.333
    """
    i, j, weight = pairs
    if counts is not None:
        weight = weight * counts[..., i] * counts[..., j]
    signs = (np.sign(np.round(values[i] - values[j], 12)) for values in (predictor, outcome))
    agree = np.prod(list(signs), axis=0)  # rounded: a tie of accuracies is one, not 1e-16
    with np.errstate(invalid="ignore"):
        return weight @ agree / weight.sum(axis=-1)


def compared(records: Iterable[Record]) -> pd.DataFrame:
    """A line per reading, outcome and predictor: tau, its interval, and that of |tau| - |gap's|.

    Configurations are resampled with all their seeds. `low_of_all` and `high_of_all` are at 95%
    over all predictors, intervals of the difference over all but the gap (Bonferroni).
    """
    runs = runs_of(records)
    lines: list[dict[str, Any]] = []
    for reading, block in runs.groupby("reading", sort=False) if len(runs) else ():
        block = block.reset_index(drop=True)
        pairs = pair_weights(block)
        if not len(pairs[0]):
            continue
        configurations = block.groupby(list(AXES), sort=False).ngroup().to_numpy()
        known = configurations.max() + 1
        left_out = sum(f"proxy-{reading}" in name for name in runs.attrs["left_out"])
        draw = np.random.Generator(np.random.Philox(0))
        draws = draw.multinomial(known, np.full(known, 1 / known), size=_DRAWS)[:, configurations]
        for outcome in OUTCOMES:
            cells = {"reading": reading, "outcome": outcome, "replicates": len(block)}
            cells |= {"is_whole": known + left_out >= CONFIGURATIONS}
            lines += [cells | line for line in _taus(block, outcome, pairs, draws)]
    return pd.DataFrame(lines)


def _taus(
    runs: pd.DataFrame, outcome: str, pairs: Pairs, draws: np.ndarray
) -> Iterator[dict[str, Any]]:
    lost = runs[outcome].to_numpy(float)
    known = [name for name in PREDICTORS if name in runs and runs[name].notna().any()]
    values = {name: runs[name].to_numpy(float) for name in known}
    found = {name: float(granulated_tau(v, lost, pairs)) for name, v in values.items()}
    drawn = {name: granulated_tau(v, lost, pairs, draws) for name, v in values.items()}
    tail = 0.025 / (len(PREDICTORS) - 1)
    for name, tau in found.items():
        if np.isnan(tau):  # an outcome that was not measured
            yield {"predictor": name, "tau": tau, "low": tau, "high": tau}
            continue
        of_all = 0.025 / len(PREDICTORS)
        low, high, *both = np.nanquantile(drawn[name], (0.025, 0.975, of_all, 1 - of_all))
        gain = np.sign(tau) * drawn[name] - np.sign(found["gap"]) * drawn["gap"]
        least, most = np.nanquantile(gain, (tail, 1 - tail))
        beats = "beats the gap" if least > 0 else "worse than the gap" if most < 0 else ""
        line = {"predictor": name, "tau": tau, "low": low, "high": high}
        line |= dict(zip(("low_of_all", "high_of_all"), both, strict=True))
        yield line | {"against_gap": "" if name == "gap" else beats}


def gap_by_axis(runs: pd.DataFrame) -> dict[str, float]:
    """The gap's tau with the primary outcome at the end, among networks that differ in one axis."""
    block = runs[runs["reading"].eq("end")].reset_index(drop=True) if len(runs) else runs
    pairs = {name: pair_weights(block, (axis,)) for axis, name in AXES.items() if len(block)}
    gap, lost = (block[name].to_numpy(float) if pairs else None for name in ("gap", PRIMARY))
    found = {name: p for name, p in pairs.items() if len(p[0])}
    return {name: float(granulated_tau(gap, lost, p)) for name, p in found.items()}


def gap_at_end(compared: pd.DataFrame) -> dict[str, Any] | None:
    """The line of the gap with the primary outcome at the end; None until all of that has run.

    `best` is the line of the largest |tau| among the predictors that beat the gap, or None.
    """
    if not len(compared):
        return None
    lines = compared[compared["outcome"].eq(PRIMARY) & compared["reading"].eq("end")]
    gap = lines[lines["predictor"].eq("gap") & lines["is_whole"]]
    if not len(gap) or gap["tau"].isna().any():
        return None
    better = lines[lines["against_gap"].eq("beats the gap")]
    best = better.loc[better["tau"].abs().idxmax()].to_dict() if len(better) else None
    if best:
        best["name"] = PREDICTORS[best["predictor"]]
    flat = compared[compared["predictor"].eq("sharpness") & compared["reading"].eq("end")]
    sharpness = flat.set_index("outcome").dropna(subset="tau").to_dict("index")
    found = {"best": best, "predictors": len(lines), "sharpness": sharpness}
    return gap.iloc[0].to_dict() | found


def by_outcome(compared: pd.DataFrame, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """For each outcome at the end: least and most points lost, and the line of largest |tau|."""
    found = []
    for outcome, name in OUTCOMES.items():
        lines = compared[compared["outcome"].eq(outcome) & compared["reading"].eq("end")]
        lost = runs.loc[runs["reading"].eq("end"), outcome].astype(float)
        if lines["tau"].notna().any():
            best = lines.loc[lines["tau"].abs().idxmax()].to_dict()
            best |= {"name": name, "best": PREDICTORS[best["predictor"]]}
            found.append(best | {"least": lost.min(), "most": lost.max()})
    return found


def _ends(low: float, high: float) -> str:
    return NOTHING if is_missing(low) else f"[{low:.2f}, {high:.2f}]"


class Proxy(Exhibit):
    """A line per predictor: granulated tau with the points lost under each fault."""

    name, order = "proxy", 67
    title = "Predictors of points lost under faults"
    columns = (
        Column("reading", "read", format=text),
        Column("predictor", "predictor", format=lambda name: PREDICTORS[name], is_text=True),
        Column("tau", OUTCOMES[PRIMARY], "tau", number_3),
        Column(("low", "high"), "95%", "tau", _ends),
        Column(("low_of_all", "high_of_all"), "95% over all", "tau", _ends, 2),
        Column("against_gap", "", format=text),
        *(Column(name, OUTCOMES[name], "tau", number_3, 1) for name in list(OUTCOMES)[1:]),
        Column("replicates", "n", format=count),
    )
    details = ()

    def parts(self, study: Study) -> Sequence[Exhibit]:
        return [self] if len(study.computed(runs_of, aside=True)) else []

    def frame(self, study: Study) -> pd.DataFrame:
        frame = study.computed(compared, aside=True)
        keys = ["reading", "predictor"]
        others = frame.pivot(index=keys, columns="outcome", values="tau").reset_index()
        primary = frame[frame["outcome"].eq(PRIMARY)].drop(columns="outcome")
        wide = primary.sort_values("reading", kind="stable").merge(others, on=keys)
        runs = study.computed(runs_of, aside=True)
        wide.attrs |= {**runs.attrs, "by_axis": gap_by_axis(runs)}
        wide.attrs["by_outcome"] = by_outcome(frame, runs)
        return wide

    def figure(self, study: Study, axes: Axes) -> None:
        frame = self.frame(study)
        names = {"end": "at the end", "stopped": "at 88% training accuracy"}
        shades = (FAMILIES["dpsgd"][0], FAMILIES["natural"][0])
        for at, ((reading, name), color) in enumerate(zip(names.items(), shades, strict=True)):
            block = frame[frame["reading"].eq(reading)]
            reach = [block["tau"] - block["low"], block["high"] - block["tau"]]
            places = np.arange(len(block)) + 0.3 * at
            axes.errorbar(block["tau"], places, xerr=reach, fmt="o", ms=4, color=color, label=name)
            if len(block):
                axes.set_yticks(places, [PREDICTORS[name] for name in block["predictor"]])
        axes.axvline(0, color="#444444", lw=0.8)
        axes.set_ylim(len(PREDICTORS) + 2, -1)  # room for the legend
        axes.set(xlabel="tau, 10% stuck weights")
        axes.legend(loc="lower left")


register(Proxy())
