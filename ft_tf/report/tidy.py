"""A study as a few tidy frames: all that exhibits read of the records, computed once.

A frame has a line per run, per run and fault rate, per attack or per layer. Its column `group`
holds the key of the `Group` that the run belongs to, so that what may be pooled is a groupby away.
Accuracies are fractions; values that were not measured are missing.
"""

import collections
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd

from ft_tf.effects.runs import PRIVACY, is_aside, normalized_auc
from ft_tf.errors import RunError
from ft_tf.records import LayerFault, Record, Run
from ft_tf.report import display_names, paper
from ft_tf.report.display_names import OTHER, PRIVATE, TRADES, parts_of
from ft_tf.report.groups import Group, failure_of, group_by_row
from ft_tf.report.replicates import band, mean_ends, mean_of

T = TypeVar("T")
TARGETS = ("weights", "units")
NOT_PRIVATE = "no guarantee"
MOST_SERIES = 6
"""Of a panel."""


class Study:
    """The records of a study, grouped, and as tidy frames.

    Attributes:
        records: the records, by name, but for `aside`.
        aside: those of plans with many small runs, which their own exhibits alone read.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        ordered = sorted(records, key=lambda record: record.name)
        self.records = tuple(record for record in ordered if not is_aside(record))
        self.aside = tuple(record for record in ordered if is_aside(record))
        self._computed: dict[Callable[..., Any], Any] = {}

    @cached_property
    def by_row(self) -> dict[str, tuple[Group, ...]]:
        """Groups under the id of each row that they serve; variants in a fixed order.

        Raises:
            RunError: a configuration lacks an option of its algorithm.
        """
        found = group_by_row(self.records, paper.EXHIBITS)
        for group in itertools.chain(*found.values()):
            try:
                _ = group.run, group.is_circles or display_names.kind(group)
            except (KeyError, TypeError, ValueError) as error:
                problem = f"config of its algorithm cannot be read ({error!r})"
                raise RunError(f"record {group.records[0].name}: {problem}") from None
        return found

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Groups of trained runs, each once, in the order of the paper's rows."""
        found: dict[str, Group] = {}
        for group in itertools.chain(*self.by_row.values()):
            if not group.is_circles:
                found.setdefault(group.key, group)

        def place(group: Group) -> tuple[int, str, str]:
            first = min(group.rows, key=paper.place)
            return paper.place(first), first, group.key

        return tuple(sorted(found.values(), key=place))

    @cached_property
    def trained(self) -> tuple[Group, ...]:
        """Those of `groups` that have finished runs."""
        return finished(self.groups)

    @cached_property
    def variants(self) -> dict[tuple[str, str], str]:
        """(row, key of a group) -> the settings in which it differs from the row's other groups."""
        used = collections.defaultdict(set)  # architectures that were run for a net of an exhibit
        for row, groups in self.by_row.items():
            used[parts_of(row)[:2]] |= {group.config.get("architecture", "") for group in groups}
        found = {}
        for row, groups in self.by_row.items():
            named = ["architecture"] if len(used[parts_of(row)[:2]]) > 1 else []
            texts = display_names.variants(groups, named=named)
            found |= {(row, g.key): text for g, text in zip(groups, texts, strict=True)}
        return found

    def groups_for(self, row: paper.PaperRow) -> tuple[Group, ...]:
        """Groups for a row of the paper; rows of its figures are runs of the tables."""
        groups = self.by_row.get(row.id, ())
        if groups or not row.exhibit.startswith("figure"):
            return groups
        found: dict[str, Group] = {}
        for other in paper.all_rows():
            if other.exhibit in paper.TABLES and row.is_of(other):
                for group in self.by_row.get(other.id, ()):
                    found.setdefault(group.key, group)
        return tuple(found.values())

    @cached_property
    def architectures(self) -> tuple[str, ...]:
        """Architectures of all finished trained runs, in a fixed order."""
        found = {group.config["architecture"] for group in self.trained}
        known = [name for name in display_names.ARCHITECTURES if name in found]
        return (*known, *sorted(found - set(known)))

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A line per trained run: every scalar figure, and its configuration as "config.*"."""
        lines = [_run_line(group, record) for group in self.groups for record in group.records]
        return pd.DataFrame(lines, columns=None if lines else _RUN)

    @property
    def finished_runs(self) -> pd.DataFrame:
        """The lines of `runs` that finished."""
        return self.runs[self.runs["status"].eq("finished")]

    @cached_property
    def campaigns(self) -> pd.DataFrame:
        """A line per finished run, fault target and fault rate."""
        return self._of_finished(_campaign_lines, _CAMPAIGN)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A line per group, fault target and rate that all its runs measured, with 95% bands.

        Of several seeds the band is the Student-t interval of the mean over seeds (fault sets are
        averaged within a seed); of one seed it is the campaign's interval over fault sets, which
        says nothing about another seed. Bands of accuracies are cut to [0, 1].
        """
        lines = []
        for group, (target, rate), runs in self.each(self.campaigns, "target", "rate", sort=True):
            if len(runs) < len(group.finished):
                continue
            first, means, lost = runs.iloc[0], runs["mean"].tolist(), runs["lost"].dropna().tolist()
            unit = f"{first['unit'] or 'fault set'}s"
            lost_ends = mean_ends(lost) if len(lost) > 1 else first[["lost_low", "lost_high"]]
            lines.append(
                {
                    "group": group.key,
                    "target": target,
                    "rate": rate,
                    "mean": mean_of(means),
                    "replicates": len(means),
                    **band(means, (first["low"], first["high"]), single_unit=unit),
                    "faults": first["faults"],
                    "lost": mean_of(lost),
                    **dict(zip(("lost_low", "lost_high"), lost_ends, strict=True)),
                }
            )
        return pd.DataFrame(lines, columns=_CURVE)

    def fault_curve(self, group: Group, target: str) -> pd.DataFrame:
        """The lines of `curves` of one group and target, by rate."""
        curves = self.curves
        return curves[(curves["group"] == group.key) & (curves["target"] == target)]

    def accuracies_at(
        self, group: Group, target: str, percents: Iterable[int]
    ) -> dict[int, float | None]:
        """Fault rate in percent -> mean accuracy of a group; None where it was not measured."""
        curve = self.fault_curve(group, target).set_index("rate")["mean"]
        return {percent: curve.get(percent / 100) for percent in percents}

    @cached_property
    def attacks(self) -> pd.DataFrame:
        """A line per finished run and attack, in the order of the record."""
        return self._of_finished(_attack_lines, (*_ATTACK, *_ATTACK_DERIVED))

    @cached_property
    def layers(self) -> pd.DataFrame:
        """A line per finished run, fault target and layer, the whole model first."""
        return self._of_finished(_layer_lines, ("target", "layer", "share_of_sites", *_LAYER))

    def _of_finished(
        self, measured: Callable[[Record], Iterable[tuple[Any, ...]]], columns: Sequence[str]
    ) -> pd.DataFrame:
        """The lines that `measured` yields of each finished run, with its record and group."""
        lines = [
            (record.name, group.key, *line)
            for group in self.trained
            for record in group.finished
            for line in measured(record)
        ]
        return pd.DataFrame(lines, columns=["record", "group", *columns])

    def computed(self, compute: Callable[[Sequence[Record]], T], *, aside: bool = False) -> T:
        """What a function such as `effects.claims` makes of the records (or `aside`), once."""
        if compute not in self._computed:
            self._computed[compute] = compute(self.aside if aside else self.records)
        return self._computed[compute]

    def main_groups(self, architecture: str) -> list[Group]:
        """The groups of an architecture that figures show, at most `MOST_SERIES`.

        Ablations, controls and fitted runs are left out. Of groups with one algorithm and setting
        that with most seeds is taken; augmented ones and DP without privacy come last.
        """
        found: dict[str, Group] = {}
        for group in self.trained:
            is_here = group.config["architecture"] == architecture and not group.is_fitted
            if is_here and any(map(_is_main, group.rows)):
                kind = display_names.kind(group)
                if kind not in found or len(group.finished) > len(found[kind].finished):
                    found[kind] = group
        shown = sorted(found.values(), key=_is_aside)[:MOST_SERIES]
        return [group for group in self.trained if group in shown]

    def printed_measures(
        self, exhibit: str
    ) -> tuple[dict[str, paper.PaperRow], list[tuple[paper.PaperRow, dict[str, Any]]]]:
        """Rows of Figure 2 or 3 by the key of a group that they can belong to, and the others.

        The others come with the cells of a line that says so.
        """
        found: dict[str, paper.PaperRow] = {}
        others = []
        for row in paper.rows(exhibit):
            groups = self.groups_for(row)
            found = {**{group.key: row for group in groups}, **found}
            if not groups:
                cells = {"data": row.dataset, "run": f"not run: {row.label}", "rows": row.id}
                others.append((row, {**cells, "replicates": 0}))
        return found, others

    def each(
        self, frame: pd.DataFrame, *columns: str, sort: bool = False
    ) -> Iterator[tuple[Group, tuple[Any, ...], pd.DataFrame]]:
        """Yields (group, values of `columns`, lines) of a frame of this study, by group."""
        groups = {group.key: group for group in self.groups}
        for (key, *values), lines in frame.groupby(["group", *columns], sort=sort, dropna=False):
            yield groups[key], tuple(values), lines


def finished(groups: Iterable[Group]) -> tuple[Group, ...]:
    """Returns the groups with at least one finished run."""
    return tuple(group for group in groups if group.finished)


def _is_main(row: str) -> bool:
    """Whether a row is the paper's, or a run of ours that is neither ablation nor control."""
    exhibit, _, name, value = parts_of(row)
    is_of_kind = name.startswith(TRADES) or (name == PRIVATE and bool(value))
    return is_of_kind or exhibit == OTHER or paper.is_row(row)


def _is_aside(group: Group) -> bool:
    options = group.config["algorithm"]
    epsilon = group.privacy.epsilon_claimed if group.privacy else None
    is_changed = group.config.get("augment") or options.get("normalized_example")
    return bool(is_changed) or (epsilon or 0.0) > PRIVACY


_RUN = [
    "record", "group", "status", "dataset", "train", "test", "generalization_error",
    "standard_deviation", "equation_10", *(f"{target}_normalized_auc" for target in TARGETS),
    "epsilon", "private",
]  # fmt: skip
"""Columns of a study without runs."""


_PARTS = {
    "epochs": "training", "steps": "training",
    "train": "accuracy", "test": "accuracy", "generalization_error": "accuracy",
    "standard_deviation": "parameters", "equation_10": "parameters",
}  # fmt: skip
"""Figures of a run -> part of its record that has them."""


def _run_line(group: Group, record: Run) -> dict[str, Any]:
    epsilon = record.privacy.epsilon_claimed if record.privacy else None
    return {
        "record": record.name,
        "group": group.key,
        "rows": " ".join(group.rows),
        "status": record.status,
        "failure": failure_of(record) if record.status == "failed" else "",
        "data": group.data,
        "dataset": record.config["dataset"],
        "architecture": record.config["architecture"],
        "algorithm": record.config["algorithm"]["name"],
        "kind": display_names.kind(group),
        "run": group.run,
        "seed": record.config["seed"],
        "fitted": group.is_fitted,
        "smoke": group.is_smoke,
        **{name: getattr(getattr(record, part), name, None) for name, part in _PARTS.items()},
        **{f"{target}_normalized_auc": normalized_auc(record, target) for target in TARGETS},
        "epsilon": epsilon if epsilon is not None and math.isfinite(epsilon) else None,
        "private": "DP" if epsilon is not None else NOT_PRIVATE,
        "advantage": getattr(record.membership, "advantage", None),
        **{f"config.{key}": value for key, value in display_names.flatten(record.config).items()},
    }


_CURVE = [
    "group", "target", "rate", "mean", "low", "high", "replicates", "band", "faults", "lost",
    "lost_low", "lost_high",
]  # fmt: skip
_CAMPAIGN = (
    "target", "rate", "faults", "mean", "low", "high", "lost", "lost_low", "lost_high", "unit",
    "trials", "images",
)  # fmt: skip
_ATTACK = (
    "attack", "epsilon", "steps", "images", "clean_accuracy", "robust_accuracy",
    "train_clean_accuracy", "train_robust_accuracy", "robust_generalization_error", "warnings",
)  # fmt: skip
_ATTACK_DERIVED = ("distance", "robust_low", "robust_high")
_LAYER = ("sites", "rate", "clean_accuracy", "accuracy", "drop", "low", "high")


def _campaign_lines(record: Run) -> Iterator[tuple[Any, ...]]:
    """A line per rate; accuracy lost is that of each trial against its own images without faults.

    Of a record that does not have that, the reference is its accuracy on all test images.
    """
    for target, campaign in record.faults.items():
        levels = (campaign.mean, campaign.low, campaign.high)
        if campaign.lost:
            lost = [campaign.lost.mean, campaign.lost.low, campaign.lost.high]
        else:
            clean = campaign.mean[campaign.rates.index(0.0)] if 0.0 in campaign.rates else None
            ends = (campaign.mean, campaign.high, campaign.low)
            lost = [[None if None in (clean, e) else clean - e for e in values] for values in ends]
        for line in zip(campaign.rates, campaign.faults, *levels, *lost, strict=True):
            yield target, *line, campaign.unit, campaign.trials, campaign.images


def _attack_lines(record: Run) -> Iterator[tuple[Any, ...]]:
    for attack in record.robustness:
        distance = attack.parameters.get("distance", "l_inf")
        yield *operator.attrgetter(*_ATTACK)(attack), distance, *attack.robust_interval


def _layer_lines(record: Run) -> Iterator[tuple[Any, ...]]:
    for target, entries in sorted(record.layer_faults.items(), reverse=True):
        for layer, entry in zip(layer_names(entries), entries, strict=True):
            share = entry.sites / entries[0].sites
            yield target, layer, share, *operator.attrgetter(*_LAYER)(entry)


def layer_names(entries: Sequence[LayerFault]) -> list[str]:
    """Returns names of a run's layers that are the same for all runs of an architecture.

    Keras numbers layers through a whole process: the first Dense layer of a model may be "dense" or
    "dense_7"; here it is "dense 1".
    """
    made: collections.Counter[str] = collections.Counter()
    names = []
    for entry in entries:
        kind = re.sub(r"_\d+$", "", entry.layer).replace("2d", "")
        made[kind] += 1
        names.append(f"{kind} {made[kind]}" if kind in ("dense", "conv") else kind)
    return names
