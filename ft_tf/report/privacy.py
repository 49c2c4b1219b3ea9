"""A DP-SGD run's own epsilon and statement, as its record has them."""

import dataclasses
from typing import Any

from ft_tf.report.groups import Group


@dataclasses.dataclass(frozen=True)
class OwnEpsilon:
    """The privacy of what was run, never of the row that it stands beside.

    Attributes:
        noise_multiplier: sigma of the run.
        epsilon: by the paper's accountant, or, for shuffled batches, unamplified; None where no
            finite figure can be had.
        epsilon_accounting: how `epsilon` was had.
        epsilon_tight: the smallest figure on the record (privacy loss distribution).
        delta: at which both are stated.
    """

    noise_multiplier: float | None
    epsilon: float | None
    epsilon_accounting: str
    epsilon_tight: float | None
    delta: float | None


def of_group(group: Group) -> OwnEpsilon | None:
    """Own epsilon of a group's runs, None for runs without differential privacy."""
    algorithm = group.any_record["config"].get("algorithm") or {}
    if algorithm.get("name") != "dpsgd":
        return None
    found = [record["privacy"] for record in group.records if record.get("privacy")]
    stated: dict[str, Any] = max(found, key=_greatest_epsilon, default={})
    is_shuffled = algorithm.get("sampling") == "shuffle"
    tight = stated.get("epsilon_pld")
    return OwnEpsilon(
        noise_multiplier=algorithm.get("noise_multiplier"),
        epsilon=stated.get("epsilon_shuffled" if is_shuffled else "epsilon_paper"),
        epsilon_accounting=_accounting(algorithm, is_shuffled=is_shuffled),
        epsilon_tight=None if is_shuffled else tight,
        delta=stated.get("delta", algorithm.get("delta")),
    )


def _greatest_epsilon(stated: dict[str, Any]) -> float:
    return stated.get("epsilon_paper") or 0.0


def _accounting(algorithm: dict[str, Any], *, is_shuffled: bool) -> str:
    if not algorithm.get("noise_multiplier"):
        return "no noise: no guarantee"
    if is_shuffled:
        return "shuffled batches, unamplified"
    return "Poisson sampling, the paper's accountant"


def statements(groups: list[Group]) -> list[tuple[str, str]]:
    """(run, statement) of each DP record that carries a statement in words, by name."""
    found = {
        record["name"]: record["privacy"]["statement"]
        for group in groups
        for record in group.records
        if (record.get("privacy") or {}).get("statement")
    }
    return sorted(found.items())
