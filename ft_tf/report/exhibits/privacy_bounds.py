"""Epsilons of each DP-SGD group by every accountant, with the bounds on its gap."""

import itertools
from collections.abc import Iterable
from typing import Any

from ft_tf.report.exhibits import Column, Exhibit, register
from ft_tf.report.table import NOTHING, count, epsilon, is_missing, number, percent, text
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


register(PrivacyBounds())
