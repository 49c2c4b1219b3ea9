"""Pairs of runs that a claim compares, and their means by network (experiments/RULE.md)."""

import dataclasses
import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ft_tf import intervals
from ft_tf.effects.runs import PRIVACY, Trained, circles, label
from ft_tf.intervals import NetworkMean
from ft_tf.records import Record

EQUAL = 1.0
"""Test accuracies that differ by at most this count as equal, in points."""
_ROUNDING = 1e-7
_EXCLUDES_NOTHING = 0.9995
_SMALL_NOISE = (("additive_gaussian", 0.01), ("multiplicative_gaussian", 0.03))


@dataclasses.dataclass(frozen=True)
class Pair:
    """One value that bears on a claim."""

    network: str
    setting: str  # key of the setting within the network
    label: str  # its name
    seed: Any  # makes values of two settings dependent
    value: float  # the effect, in points
    role: str = "counted"  # or "control", or "context" for an unmatched comparison
    records: tuple[str, ...] = ()
    is_stopped_on_test: bool = False  # whether the partner was stopped on test images


Pairs = tuple[list[Pair], int]
"""The values of a claim, and how many comparisons gave none."""
Measure = Callable[[Trained], float | None]


def at_equal_accuracy(runs: Sequence[Trained], name: str, measure: Measure) -> Pairs:
    """Runs of an algorithm minus natural training stopped at their test accuracy.

    Context: minus fully trained natural networks. Controls: see `PRIVACY`. Where a setting has
    partners that stopped on held-out images, those that stopped on test images are left out.
    """
    matched, context, left_out = [], [], 0
    for run in _of(runs, name):
        is_control = name == "dpsgd" and not run.epsilon <= PRIVACY
        stopped = _partners(runs, run, "natural_stopped")
        nearest = min(stopped, key=lambda other: abs(other.test - run.test), default=None)
        if nearest and abs(nearest.test - run.test) <= EQUAL + _ROUNDING:
            pairs = _minus(run, [nearest], measure, "control" if is_control else "counted")
            matched += [(run.recipe, pair) for pair in pairs]
        else:
            left_out += not is_control
        if not is_control:
            context += _minus(run, _partners(runs, run, "natural"), measure, "context")
    valid = {recipe for recipe, pair in matched if not pair.is_stopped_on_test}
    kept = [p for recipe, p in matched if not (p.is_stopped_on_test and recipe in valid)]
    return kept + context, left_out


def at_equal_training(runs: Sequence[Trained]) -> Pairs:
    """Gaps of TRADES minus those of natural training where it had learned as much.

    Context: minus those at the end of natural training.
    """
    found, left_out = [], 0
    for run in _of(runs, "trades"):
        curves = _partners(runs, run, "natural")
        points = [(other, other.where_trained_to(run.train)) for other in curves]
        reached = [(other, there[1]) for other, there in points if there]
        left_out += not reached
        found += [_valued(run, other, run.gap - gap) for other, gap in reached]
        found += [_valued(run, other, run.gap - other.gap, "context") for other in curves]
    return found, left_out


def by_radius(runs: Sequence[Trained]) -> Pairs:
    """Gaps of TRADES at a larger radius minus at a smaller one that had learned as much."""
    found, left_out = [], 0
    robust = sorted(_of(runs, "trades"), key=lambda run: run.algorithm["epsilon"])
    for small, large in itertools.combinations(robust, 2):
        is_matched = _but_radius(small) == _but_radius(large)
        if not is_matched or small.algorithm["epsilon"] == large.algorithm["epsilon"]:
            continue
        there = small.where_trained_to(large.train)
        left_out += there is None
        of_both = {
            "setting": large.setting + small.setting,
            "label": f"{label(large)} against {label(small)}",
        }
        values = [_valued(large, small, large.gap - there[1])] if there else []
        values.append(_valued(large, small, large.gap - small.gap, "context"))
        found += [dataclasses.replace(value, **of_both) for value in values]
    return found, left_out


def _but_radius(run: Trained) -> tuple[Any, ...]:
    scaled = ("epsilon", "step_size", "num_steps")
    options = {key: value for key, value in run.algorithm.items() if key not in scaled}
    return *run.conditions, options


def as_in_figure_3(runs: Sequence[Trained]) -> Pairs:
    """Drops from 50 to 90% faults, TRADES minus Tikhonov, both as trained."""
    found, wanted = [], 0
    for run in _of(runs, "trades"):
        regularized, natural = (_partners(runs, run, part) for part in ("tikhonov", "natural"))
        wanted += len(regularized)
        found += _minus(run, regularized, lambda trained: trained.drop, "counted")
        found += _minus(run, natural, lambda trained: trained.drop, "context")
    return found, wanted - sum(pair.role == "counted" for pair in found)


def against_bound(runs: Sequence[Trained]) -> Pairs:
    """Theorem 1's bound with a replace-one epsilon minus the gap, where the bound excludes any."""
    found, left_out = [], 0
    for run in (run for run in _of(runs, "dpsgd") if run.epsilon <= PRIVACY):
        bound = run.record.privacy.theorem_1_replace_one
        if bound is None or bound >= _EXCLUDES_NOTHING:
            left_out += 1
        else:
            found.append(_valued(run, run, 100 * bound - run.gap))
    return found, left_out


def with_input_noise(records: Iterable[Record]) -> Pairs:
    """Table 3: gaps with small noise minus without, of equal training accuracy.

    Context: of all replicates, equal or not.
    """
    found, left_out = [], 0
    for record in circles(records):
        plain = next((r for r in record.results.values() if r.noise == "natural"), None)
        for result in record.results.values() if plain else ():
            if (result.noise, result.sigma) not in _SMALL_NOISE:
                continue
            name = f"{record.form}, {result.noise} {result.sigma:g}".replace("_", " ")
            sides = zip(result.train, result.test, plain.train, plain.test, strict=True)
            for replicate, (train, test, plain_train, plain_test) in enumerate(sides):
                seed = (record.form, record.config["seed"], replicate)
                value = 100 * ((train - test) - (plain_train - plain_test))
                is_equal = train == plain_train
                left_out += not is_equal
                for role in ("counted", "context") if is_equal else ("context",):
                    found.append(Pair("circles_mlp", name, name, seed, value, role, (record.name,)))
    return found, left_out


def _of(runs: Sequence[Trained], name: str) -> list[Trained]:
    return [run for run in runs if run.counts and run.table and run.algorithm["name"] == name]


def _partners(runs: Sequence[Trained], run: Trained, part: str) -> list[Trained]:
    """Other runs of one part of the same table, under the same conditions, that may be counted."""
    same = (other for other in runs if other.conditions == run.conditions and other is not run)
    return [other for other in same if other.counts and other.part == part]


def _minus(run: Trained, partners: Sequence[Trained], measure: Measure, role: str) -> list[Pair]:
    """A run minus each of its partners, where both have the measure."""
    values = [(other, measure(run), measure(other)) for other in partners]
    measured = [line for line in values if None not in line[1:]]
    return [_valued(run, other, mine - its, role) for other, mine, its in measured]


def _valued(run: Trained, other: Trained, value: float, role: str = "counted") -> Pair:
    return Pair(
        network=run.network,
        setting=run.setting,
        label=label(run),
        seed=run.seed,
        value=value,
        role=role,
        records=tuple(dict.fromkeys((run.record.name, other.record.name))),
        is_stopped_on_test=bool(other.record.config.get("stop_at_test_accuracy")),
    )


def networks_of(pairs: Sequence[Pair]) -> dict[str, NetworkMean]:
    """The mean of each network."""
    return {name: network_of(mine) for name, mine in by(pairs, "network").items()}


def network_of(pairs: Sequence[Pair]) -> NetworkMean:
    """A network's mean over its settings; several partners of a seed are averaged."""
    return intervals.network_mean(
        [
            {seed: statistics.fmean(pair.value for pair in same) for seed, same in seeds.items()}
            for seeds in (by(mine, "seed") for mine in by(pairs, "setting").values())
        ]
    )


def by(pairs: Sequence[Pair], name: str) -> dict[str, list[Pair]]:
    """Pairs by one of their fields, in its order."""
    found = defaultdict(list)
    for pair in pairs:
        found[getattr(pair, name)].append(pair)
    return dict(sorted(found.items()))
