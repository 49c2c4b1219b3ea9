"""What the epsilons of DP-SGD runs bound: their gaps, and membership inference."""

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from ft_tf.privacy.membership import allowed_true_positive_rate
from ft_tf.records import Membership
from ft_tf.report.exhibits import Column, Exhibit, register
from ft_tf.report.groups import Group
from ft_tf.report.replicates import band, deviation, mean_of
from ft_tf.report.table import NOTHING, count, epsilon, interval, is_missing, number, percent, text
from ft_tf.report.tidy import Study

_FIGURES = (
    "steps", "noise_multiplier", "delta", "epsilon_claimed", "epsilon_paper", "epsilon_rdp",
    "epsilon_pld", "epsilon_shuffled", "theorem_1_as_printed", "theorem_1_replace_one", "gap_bound",
)  # fmt: skip


def _bound(value: Any) -> str:
    if is_missing(value):
        return NOTHING
    return percent(value) if value < 1 else "nothing"


class PrivacyBounds(Exhibit):
    """A line per DP-SGD group: the statement of the run with the largest epsilon.

    theorem_1_as_printed is exp(epsilon) - 1 + delta with the paper's epsilon of the run, which
    rests on the wrong adjacency; gap_bound, a total variation, holds. Above 1 either says nothing.
    """

    name, order = "privacy_bounds", 81
    title = "Epsilons of the DP-SGD runs, and bounds on their gaps"
    columns = (
        Column("run", "run", format=text),
        Column("epsilon_claimed", "epsilon", format=epsilon),
        Column("theorem_1_as_printed", "as printed", "Theorem 1", _bound),
        Column("theorem_1_replace_one", "replace-one", "Theorem 1", _bound, 1),
        Column("gap_bound", "that holds", "gap bound", _bound),
        Column("generalization_error", "gap", "our"),
        Column("replicates", "n", format=count),
    )
    details = (
        Column("rows", "rows", format=text),
        Column("sampling", "sampling", format=text),
        Column("steps", "steps", format=count),
        Column("delta", "delta", format=number),
    )

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        every = itertools.chain.from_iterable(study.by_row.values())
        private = {group.key: group for group in every if group.privacy}
        for group in private.values():
            bounds = {name: getattr(group.privacy, name) for name in _FIGURES}
            if group.privacy.sampling == "shuffle":
                bounds["gap_bound"] = group.privacy.gap_bound_shuffled
            yield {
                "run": group.run,
                "rows": " ".join(group.rows),
                "replicates": len(group.finished),
                "sampling": group.privacy.sampling,
                **bounds,
                "generalization_error": group.mean("generalization_error"),
                "records": group.names,
            }


_OF_FIRST = ("false_positive_rate", "members", "others")
_ONE_SPLIT = "training images alone"


def _found(rate: float | None, is_resolved: bool) -> str:
    return percent(rate) if is_resolved else "ties"


class MembershipInference(Exhibit):
    """The loss-threshold attack on each group of runs, and for DP runs what their epsilon allows.

    True positives are left out, and `resolved` is false, where a record from before log-odds has
    none: more of its test images than may be taken for members had a loss of exactly 0.

    `allowed` follows from the epsilon that the run claims. That epsilon adds or removes an example,
    while the attack compares a training image with one that it might have been replaced by:
    `allowed_replace_one` is the bound that the experiment as it is run has to obey, on average
    over the draw of the data and of the run.
    """

    name, order = "membership", 80
    title = "Membership inference by a threshold on the loss"
    columns = (
        Column("run", "run", format=text),
        Column("advantage", "best threshold", "advantage"),
        Column("advantage_of_correctness", "right or wrong", "advantage"),
        Column("advantage_of_mean_loss", "mean loss", "advantage", priority=3),
        Column(("true_positive_rate", "resolved"), "found", "true positives", _found),
        Column(("true_positive_low", "true_positive_high"), "95%", "true positives", interval, 1),
        Column("by_references", "by RMIA", "true positives", priority=1),
        Column("allowed", "by claimed epsilon", "at most", priority=2),
        Column("allowed_replace_one", "by replace-one", "at most"),
        Column("replicates", "n", format=count),
    )
    details = (
        *Exhibit.details,
        Column("members", "training images", format=count),
        Column("others", "test images", format=count),
        Column("references", "RMIA's reference models", format=count),
        Column("band", "interval over", format=text),
        Column("epsilon", "epsilon", format=epsilon),
        Column("epsilon_replace_one", "replace-one epsilon", format=epsilon),
        Column("delta", "delta", format=number),
        Column("advantage_sd", "standard deviation of the advantage over seeds"),
    )

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        for group in study.trained:
            found = [record.membership for record in group.finished if record.membership]
            if found:
                yield {**group.cells, **_attacked(group, found), "records": group.names}


def _attacked(group: Group, found: Sequence[Membership]) -> dict[str, Any]:
    first, by_references = found[0], [entry.by_references for entry in found if entry.by_references]
    is_resolved = all(entry.scale or entry.true_positive_rate > 0 for entry in found)
    rates = [entry.true_positive_rate for entry in found] if is_resolved else []
    over = "both splits" if first.scale else _ONE_SPLIT
    ends = band(rates, first.true_positive_interval, single_unit=over) if is_resolved else {}

    def mean(name: str) -> float | None:
        return mean_of(getattr(entry, name) for entry in found)

    return {
        "replicates": len(found),
        "advantage": mean("advantage"),
        "advantage_sd": deviation([entry.advantage for entry in found]),
        "advantage_of_correctness": mean("advantage_of_correctness"),
        "advantage_of_mean_loss": mean("advantage_of_mean_loss"),
        "resolved": is_resolved,
        "true_positive_rate": mean_of(rates),
        "true_positive_low": ends.get("low"),
        "true_positive_high": ends.get("high"),
        "by_references": mean_of(entry.true_positive_rate for entry in by_references),
        "references": by_references[0].references if by_references else None,
        "band": ends.get("band"),
        **{name: getattr(first, name) for name in _OF_FIRST},
        **_allowed(group, first.false_positive_rate),
    }


def _allowed(group: Group, false_positive_rate: float) -> dict[str, Any]:
    """What the largest epsilon of the group's runs allows, by both adjacencies."""
    stated, delta, epsilons = group.privacy, None, (None, None)
    if stated is not None and stated.private:
        is_poisson, delta = stated.sampling == "poisson", stated.delta
        epsilons = (stated.epsilon_claimed, stated.epsilon_replace_one if is_poisson else None)
    bound = functools.partial(
        allowed_true_positive_rate, delta=delta, false_positive_rate=false_positive_rate
    )
    allowed = (None if epsilon is None else bound(epsilon=epsilon) for epsilon in epsilons)
    names = ("epsilon", "epsilon_replace_one", "delta", "allowed", "allowed_replace_one")
    return dict(zip(names, (*epsilons, delta, *allowed), strict=True))


register(PrivacyBounds())
register(MembershipInference())
