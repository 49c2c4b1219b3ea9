"""Does epsilon say anything about fault tolerance beyond the noise's walk: plan "walk"."""

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from ft_tf.effects.runs import Trained, measures, of_plan
from ft_tf.records import Record
from ft_tf.report.exhibits import Column, Exhibit, register
from ft_tf.report.plot_styles import FAMILIES
from ft_tf.report.table import count, number_3
from ft_tf.report.table import epsilon as shown_epsilon
from ft_tf.report.tidy import Study

LABEL = re.compile(r"walk-(?:epsilon_(?P<epsilon>[\d.]+)|control)-s_(?P<level>[\d.]+)")
CONTROL = math.inf
"""In place of an epsilon: a natural network with N(0, s^2) on its weights."""
LEAST_TEST = 0.5
"""Test accuracy below which a run has too little left to lose: it is shown, and not in the fit."""
_DRAWS = 2_000


def runs_of(records: Iterable[Record]) -> pd.DataFrame:
    """A line per finished run of the plan."""
    lines = []
    for record, label in of_plan(records, LABEL):
        if record.accuracy is not None:
            epsilon, level = float(label["epsilon"] or CONTROL), float(label["level"])
            cell = {name: record.config[name] for name in ("batch_size", "epochs")}
            cell |= {"epsilon": epsilon, "level": level}
            cell |= {"walk": level if epsilon == CONTROL else Trained(record).walk}
            cell |= {"sigma": record.config["algorithm"].get("noise_multiplier")}
            lines.append(cell | {"record": record.name, **measures(record)})
    return pd.DataFrame(lines)


def partial_r2(y: np.ndarray, given: np.ndarray, added: np.ndarray) -> float:
    """The share of what least squares on `given` (and a constant) leaves that `added` explains.

    Of y [runs], by terms [runs, terms].

    >>> one, other = np.array([[0.0], [0], [1], [1]]), np.array([[0.0], [1], [0], [1]])
    >>> round(partial_r2(np.array([0, 1, 0, 1.0]), one, other), 6)
    1.0
    """
    before, after = _rest(y, given), _rest(y, np.hstack([given, added]))
    return 1 - after / before if before > 0 else 0.0


def _rest(y: np.ndarray, terms: np.ndarray) -> float:
    design = np.column_stack([np.ones(len(y)), terms])
    return float(np.sum((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2))


def _terms(runs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Log s, linear and quadratic; and a column for each epsilon but the first."""
    log = np.log(runs["walk"].to_numpy(float))
    levels = sorted(runs["epsilon"].unique())[1:]
    return np.stack([log, log**2], 1), np.stack([runs["epsilon"].eq(e) for e in levels], 1) * 1.0


def explained(runs: pd.DataFrame) -> dict[str, Any] | None:
    """Partial R^2 of epsilon beyond log s and of log s beyond epsilon, as the plan states them.

    With 95% by resampling cells, and p of the F test of epsilon on the means over seeds; `least`
    and `most` are the means of the shortest and the longest walk at the smallest epsilon. None
    until every epsilon has runs at four levels of s.
    """
    if not len(runs):
        return None
    kept = runs[(runs["test"] >= LEAST_TEST) & runs["epsilon"].lt(CONTROL)]
    kept = kept.dropna(subset=["weights_10"]).reset_index(drop=True)
    levels = kept.groupby("epsilon")["level"].nunique()
    if len(levels) < 3 or levels.min() < 4:
        return None
    (logs, epsilons), y = _terms(kept), kept["weights_10"].to_numpy(float)
    cells = list(kept.groupby(["epsilon", "level"]).indices.values())
    draw = np.random.Generator(np.random.Philox(0))

    def both(rows: np.ndarray) -> tuple[float, float]:
        parts = logs[rows], epsilons[rows]
        return partial_r2(y[rows], *parts), partial_r2(y[rows], *parts[::-1])

    drawn = [
        both(np.concatenate([cells[i] for i in draw.integers(len(cells), size=len(cells))]))
        for _ in range(_DRAWS)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    means = kept.groupby(["epsilon", "level"], as_index=False).mean(numeric_only=True)
    log_of_means, by_epsilon = _terms(means)
    share = partial_r2(means["weights_10"].to_numpy(float), log_of_means, by_epsilon)
    terms, free = by_epsilon.shape[1], len(means) - 1 - log_of_means.shape[1] - by_epsilon.shape[1]
    p = float(stats.f.sf(share / (1 - share) * free / terms, terms, free))
    found = both(np.arange(len(kept)))
    first = means[means["epsilon"].eq(means["epsilon"].min())].sort_values("level")
    first = first[["epsilon", "walk", "weights_10"]].rename(columns={"weights_10": "lost"})
    return {
        "epsilon": found[0], "epsilon_low": low[0], "epsilon_high": high[0],
        "walk": found[1], "walk_low": low[1], "walk_high": high[1], "p": p, "runs": len(kept),
        "least": dict(first.iloc[0]), "most": dict(first.iloc[-1]),
    }  # fmt: skip


def _epsilon(value: float) -> str:
    return "natural, noise added" if value == CONTROL else shown_epsilon(value)


class WalkAgainstEpsilon(Exhibit):
    """A line per epsilon and level of s: means over seeds."""

    name, order = "walk_against_epsilon", 66
    title = "The noise's walk against epsilon"
    columns = (
        Column("epsilon", "epsilon", format=_epsilon, is_text=True),
        Column("walk", "s", "deviation", number_3),
        Column("deviation", "of weights", "deviation", number_3, 1),
        Column("batch_size", "batch", format=count, priority=2),
        Column("epochs", "epochs", format=count, priority=2),
        Column("sigma", "noise multiplier", format=number_3, priority=1),
        Column("test", "test"),
        Column("weights_10", "10% weights", "points lost"),
        Column("units_10", "10% units", "points lost", priority=1),
        Column("int8", "int8 bits 1e-3", "points lost", priority=1),
        Column("replicates", "n", format=count),
    )
    details = ()

    def parts(self, study: Study) -> Sequence[Exhibit]:
        return [self] if len(study.computed(runs_of, aside=True)) else []

    def frame(self, study: Study) -> pd.DataFrame:
        runs = study.computed(runs_of, aside=True)
        cells = runs.groupby(["epsilon", "level"])
        means = cells.mean(numeric_only=True).reset_index()
        means["replicates"] = cells.size().to_numpy()
        means["records"] = cells["record"].agg(" ".join).to_numpy()
        means.attrs["explained"] = explained(runs)
        return means

    def figure(self, study: Study, axes: Axes) -> None:
        frame = self.frame(study)
        shades = itertools.cycle(FAMILIES["dpsgd"])
        for (epsilon, line), color in zip(frame.groupby("epsilon"), shades, strict=False):
            x, y = line["walk"], 100 * line["weights_10"]
            is_control = epsilon == CONTROL
            style = {"color": "0.4", "ls": "--"} if is_control else {"color": color}
            name = "natural, noise added" if is_control else f"epsilon {epsilon:g}"
            axes.plot(x, y, marker="o", label=name, **style)
        axes.set_xscale("log")
        axes.set(xlabel="s = lr sigma C sqrt(T) / L", ylabel="points lost at 10% stuck weights")
        axes.legend()


register(WalkAgainstEpsilon())
