"""The paper's premise, and two findings: the noise walk, and what raises fault tolerance."""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ft_tf.effects.runs import Trained, is_of_tables, label, trained
from ft_tf.intervals import Estimate
from ft_tf.records import Record

DRAWS = 2_000
LEVEL = 0.95
LEAST_CONFIGURATIONS = 5
"""A network's tau needs as many: of four even a perfect order has a permutation p of 0.083."""
MODEL_COLUMNS = (
    "network", "setting", "seed", "algorithm", "label", "epsilon", "train", "test", "gap", "lost",
    "record",
)  # fmt: skip
WALK_COLUMNS = (
    "network", "label", "seed", "epsilon", "noise_multiplier", "l2_norm_clip", "learning_rate",
    "batch_size", "steps", "walk", "clip_deviation", "predicted", "deviation", "relative_error",
    "lost", "test", "chance", "fitted", "record",
)  # fmt: skip
REMEDY_COLUMNS = (
    "network", "algorithm", "remedy", "seed", "lost", "lost_without", "lost_difference",
    "lost_50", "lost_50_without", "normalized_area", "normalized_area_without", "test",
    "test_without", "record", "record_without",
)  # fmt: skip
_REMEDIES = ("dropout", "fault_aware_rate", "weight_decay")
_OF_REMEDIES = (*_REMEDIES, "fault_aware_target")


def models(runs: Iterable[Trained], *, private: bool = True, of_plans: bool = True) -> pd.DataFrame:
    """A line per distinct trained model with at least twice the accuracy of guessing.

    Stopped trainings of one seed that end at the same step are one model. `private` is whether
    models trained by DP-SGD are among them, `of_plans` whether those of plans beyond the tables.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for run in runs if of_plans else filter(is_of_tables, runs):
        lost, name = run.lost(), run.algorithm["name"]
        if lost is None or run.test < 2 * (run.chance or 0.0) or (name == "dpsgd" and not private):
            continue
        line = (run.network, run.setting, run.seed, name, label(run), run.epsilon)
        line += (run.train, run.test, run.gap, lost, run.record.name)
        found.setdefault(run.training, line)
    return pd.DataFrame(list(found.values()), columns=list(MODEL_COLUMNS))


@dataclasses.dataclass(frozen=True)
class NetworkTau:
    """Kendall's tau-b in one network, with its bootstrap interval over configurations."""

    network: str
    models: int
    tau: float
    low: float
    high: float
    standard_error: float

    @property
    def estimate(self) -> Estimate:
        """As an estimate with a normal interval."""
        return Estimate(self.tau, self.standard_error, math.inf)


@dataclasses.dataclass(frozen=True)
class Correlation:
    """Kendall's tau-b of gap and points lost, within networks: the plain mean over them."""

    tau: float
    low: float  # percentile interval over configurations
    high: float
    partial: float  # mean of the partial tau given test accuracy, where a network has one
    models: int
    networks: tuple[NetworkTau, ...]
    draws: np.ndarray = dataclasses.field(repr=False, compare=False)  # bootstrap draws of `tau`

    @property
    def p(self) -> float:
        """Two-sided bootstrap p-value of a tau of 0."""
        return min(self._p(self.draws <= 0), self._p(self.draws >= 0))

    def p_equivalence(self, smallest: float) -> float:
        """Two one-sided bootstrap tests of a tau of at least `smallest` in size, doubled."""
        return max(self._p(self.draws >= smallest), self._p(self.draws <= -smallest))

    @staticmethod
    def _p(beyond: np.ndarray) -> float:
        return min(1.0, 2 * (beyond.sum() + 1) / (len(beyond) + 1))


def correlation(frame: pd.DataFrame, *, draws: int = DRAWS, seed: int = 0) -> Correlation:
    """Kendall's tau-b of gap and points lost over `models`, within networks.

    Networks of fewer than `LEAST_CONFIGURATIONS`, or without any difference, are left out.
    Bootstrap draws take configurations with all their seeds, within each network; copies of one
    model are tied and compare as nothing.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    networks, drawn, partials, count = [], [], [], 0
    for name, mine in frame.groupby("network"):
        clusters = list(mine.groupby("setting").indices.values())
        if (
            len(clusters) < LEAST_CONFIGURATIONS
            or min(mine["gap"].nunique(), mine["lost"].nunique()) < 2
        ):
            continue
        signs = {column: _signs(mine[column]) for column in ("gap", "lost")}
        taken = generator.integers(0, len(clusters), (draws, len(clusters)))
        places = (np.concatenate([clusters[i] for i in line]) for line in taken)
        sample = np.array([_tau(signs["gap"], signs["lost"], place) for place in places])
        tau, by_gap, by_lost = (
            stats.kendalltau(mine[a], mine[b]).statistic
            for a, b in (("gap", "lost"), ("gap", "test"), ("lost", "test"))
        )
        rest = math.sqrt((1 - by_gap**2) * (1 - by_lost**2))
        # A tau of 1 is one within rounding; the next smaller one is more than 1e-6 below.
        partials.append((tau - by_gap * by_lost) / rest if rest > 1e-6 else math.nan)
        spread, ends = float(np.nanstd(sample, ddof=1)), _ends(sample)
        networks.append(NetworkTau(str(name), len(mine), float(tau), *ends, spread))
        drawn.append(np.nan_to_num(sample, nan=float(tau)))
        count += len(mine)
    if not networks:
        nan = math.nan
        return Correlation(nan, nan, nan, nan, count, (), np.array([]))
    means = np.mean(drawn, axis=0)
    tau = float(np.mean([network.tau for network in networks]))
    known = [partial for partial in partials if not math.isnan(partial)] or [math.nan]
    return Correlation(tau, *_ends(means), float(np.mean(known)), count, tuple(networks), means)


def _ends(sample: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(sample, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _signs(values: pd.Series) -> np.ndarray:
    array = values.to_numpy(np.float64)
    return np.sign(array[:, None] - array).astype(np.int8)


def _tau(x: np.ndarray, y: np.ndarray, places: np.ndarray) -> float:
    """Kendall's tau-b of the models at `places`, from the signs of all differences."""
    x, y = x[np.ix_(places, places)], y[np.ix_(places, places)]
    size = math.sqrt(np.count_nonzero(x) * np.count_nonzero(y))
    return float((x * y).sum(dtype=np.int64)) / size if size else math.nan


def premise(records: Iterable[Record]) -> pd.DataFrame:
    """Gap and points lost at 10% stuck-at-0 weights of every distinct model, for a figure."""
    return models(trained(records))


def noise_walk(records: Iterable[Record]) -> pd.DataFrame:
    """Standard deviation of the parameters against the noise walk, a line per clipped DP-SGD run.

    predicted = sqrt(clip_deviation^2 + walk^2), walk = lr sigma C / L sqrt(T), with clip_deviation
    that of clipping alone on the network; without such a run, that of the run with the least noise,
    less its own walk. It holds for SGD without momentum, decay and drops of the learning rate;
    other runs are left out.
    """
    runs = [run for run in trained(records) if _is_plain(run)]
    lines = []
    for run in runs:
        walk, reference = run.walk, _clip_deviation(run, runs)
        deviation = run.record.parameters.standard_deviation
        predicted = math.hypot(reference, walk)
        options, config = run.algorithm, run.record.config
        line = (run.network, label(run), run.seed, run.epsilon, options["noise_multiplier"])
        line += (options["l2_norm_clip"], config["learning_rate"], config["batch_size"])
        line += (run.record.training.steps, walk, reference, predicted, deviation)
        line += (deviation / predicted - 1, run.lost(), run.test, run.chance)
        lines.append((*line, bool(config.get("fitted")), run.record.name))
    return pd.DataFrame(lines, columns=list(WALK_COLUMNS))


def _is_plain(run: Trained) -> bool:
    config = run.record.config
    is_off = not any(config.get(k) for k in ("momentum", "weight_decay", "learning_rate_drops"))
    is_clipped = run.part in ("dpsgd", "dpsgd_clip_only") and config.get("optimizer") == "sgd"
    return is_clipped and is_off and run.record.parameters is not None


def _clip_deviation(run: Trained, runs: Sequence[Trained]) -> float:
    mine = [other for other in runs if other.network == run.network and other.counts]
    least = min(mine or [run], key=lambda other: (other.walk, other.seed))
    square = least.record.parameters.standard_deviation**2 - least.walk**2
    return math.sqrt(max(0.0, square))


def remedies(records: Iterable[Record]) -> pd.DataFrame:
    """What raises fault tolerance: a run with a remedy, and the same run of its seed without.

    Remedies are dropout and faults in training, and weight decay under DP-SGD (elsewhere it is
    Tikhonov's regularization).
    """
    columns = ("setting", "network", "algorithm", "remedy", "seed", "lost", "lost_50",
               "normalized_area", "test", "record")  # fmt: skip
    lines = [
        (_but_remedies(run), run.network, run.algorithm["name"], _remedies_of(run), run.seed,
         run.lost(), run.lost(0.5), run.normalized_area(), run.test, run.record.name)
        for run in trained(records) if run.counts and run.table
    ]  # fmt: skip
    runs = pd.DataFrame(lines, columns=list(columns)).astype({"lost": float})
    has = runs["remedy"].ne("")
    pairs = runs[has].merge(runs[~has], on="setting", suffixes=("", "_without"))
    return pairs.assign(lost_difference=pairs["lost"] - pairs["lost_without"])[[*REMEDY_COLUMNS]]


def _remedies_of(run: Trained) -> str:
    config, name = run.record.config, run.algorithm["name"]
    on = {key: config.get(key) for key in _REMEDIES if key != "weight_decay" or name == "dpsgd"}
    names = {"fault_aware_rate": f"faults in training ({config.get('fault_aware_target')})"}
    told = (f"{names.get(k, k.replace('_', ' '))} {value:g}" for k, value in on.items() if value)
    return ", ".join(told) if not run.is_stopped else ""


def _but_remedies(run: Trained) -> str:
    config = json.loads(run.setting)[0]
    rest = {key: value for key, value in config.items() if key not in _OF_REMEDIES}
    return json.dumps([rest, run.is_stopped, *map(str, run.conditions)], sort_keys=True)
