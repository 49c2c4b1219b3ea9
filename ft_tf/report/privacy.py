"""A DP-SGD run's own epsilon, bounds and statement, as its record has them."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ft_tf.records import Record
from ft_tf.report import labels
from ft_tf.report.groups import Group, groups_by_row

_FIGURES = (
    "steps",
    "noise_multiplier",
    "delta",
    "epsilon_paper",
    "epsilon_rdp",
    "epsilon_pld",
    "epsilon_shuffled",
    "theorem_1_as_printed",
    "theorem_1_replace_one",
    "gap_bound",
)
BOUND_COLUMNS = ("run", "rows", "replicates", "sampling", *_FIGURES, "gap", "records")


@dataclasses.dataclass(frozen=True)
class OwnEpsilon:
    """The privacy of what was run, never of the row that it stands beside.

    Attributes:
        noise_multiplier: sigma of the run.
        epsilon: by the paper's accountant, or, for shuffled batches, unamplified; None where no
            finite figure can be had.
        epsilon_accounting: how `epsilon` was had, or why there is none.
        epsilon_tight: the smallest figure on the record (privacy loss distribution); None for
            shuffled batches, to which it does not apply.
        delta: at which both are stated.
    """

    noise_multiplier: float | None
    epsilon: float | None
    epsilon_accounting: str
    epsilon_tight: float | None
    delta: float | None


def of_group(group: Group) -> OwnEpsilon | None:
    """Own epsilon of a group's runs, the largest of them; None for runs without DP."""
    algorithm = group.any_record["config"].get("algorithm") or {}
    if algorithm.get("name") != "dpsgd":
        return None
    stated = worst(group)
    sampling = stated.get("sampling") or algorithm.get("sampling")
    figure = "epsilon_shuffled" if sampling == "shuffle" else "epsilon_paper"
    return OwnEpsilon(
        noise_multiplier=algorithm.get("noise_multiplier"),
        epsilon=stated.get(figure),
        epsilon_accounting=(
            _SAMPLING.get(sampling, sampling)
            if stated.get(figure) is not None
            else _reason(stated, figure)
        ),
        epsilon_tight=stated.get("epsilon_pld") if sampling == "poisson" else None,
        delta=stated.get("delta", algorithm.get("delta")),
    )


_SAMPLING = {
    "poisson": "Poisson sampling, the paper's accountant",
    "shuffle": "shuffled batches, unamplified",
}


def worst(group: Group) -> dict[str, Any]:
    """What the run with the largest epsilon states: lost steps can make seeds differ.

    An empty dict where no run of the group states anything.
    """
    found = [record["privacy"] for record in group.records if record.get("privacy")]
    return max(found, key=lambda stated: stated.get("epsilon_paper") or 0.0, default={})


def _reason(stated: dict[str, Any], figure: str) -> str:
    reason = (stated.get("reasons") or {}).get(figure)
    return reason or "no figure on record"


def bounds_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Epsilons of each DP-SGD group by every accountant, with the bounds on its gap.

    theorem_1_as_printed is exp(epsilon) - 1 + delta with the paper's epsilon of the run, which
    rests on the wrong adjacency; gap_bound, a total variation, holds. Above 1 either says nothing.
    """
    lines: dict[str, dict[str, Any]] = {}
    for row, groups in groups_by_row(records).items():
        for group in groups:
            stated = worst(group)
            if group.key in lines:
                lines[group.key]["rows"] += f" {row}"
            elif stated:
                gaps = group.samples.gap
                lines[group.key] = {
                    "run": labels.of_run(group),
                    "rows": row,
                    "replicates": len(gaps),
                    "sampling": stated.get("sampling"),
                    **{figure: stated.get(figure) for figure in _FIGURES},
                    **_shuffled(stated),
                    "gap": sum(gaps) / len(gaps) if gaps else None,
                    "records": group.names,
                }
    return pd.DataFrame(list(lines.values()), columns=list(BOUND_COLUMNS))


def _shuffled(stated: dict[str, Any]) -> dict[str, Any]:
    """Of shuffled batches the bound without amplification is the one that holds."""
    if stated.get("sampling") != "shuffle":
        return {}
    return {"gap_bound": stated.get("gap_bound_shuffled")}


def statements(records: Iterable[Record]) -> list[tuple[str, str]]:
    """(run, statement) of each record that carries a privacy statement in words, by name."""
    return sorted(
        (record["name"], record["privacy"]["statement"])
        for record in records
        if (record.get("privacy") or {}).get("statement")
    )
