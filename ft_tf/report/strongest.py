"""The strongest attack on a group of runs: the lowest accuracy, on one and the same images.

A run may be attacked again, on other numbers of images: the lowest of all its numbers would then be
that of the fewest images as often as that of the strongest attack. Records hold no outcome per
image, so that attacks are compared by their accuracies, on equal images alone.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from ft_tf.records import Record
from ft_tf.report.groups import Group

_Kind = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class Strongest:
    """What was done to the runs of a group, and what was left of them.

    Attributes:
        epsilon: the l_inf radius; None where no run was attacked.
        images: test images attacked, the first so many; None likewise.
        attacks: the attacks whose lowest outcome counts, in words.
        accuracies: name of each run that was attacked so -> its accuracy under attack.
        warnings: what the attacks say of themselves, in one line.
    """

    epsilon: float | None
    images: int | None
    attacks: str
    accuracies: Mapping[str, float]
    warnings: str


def strongest(group: Group) -> Strongest:
    """The lowest accuracy of each run, over the l_inf attacks at one radius on the same images.

    The radius is the one that most runs were attacked at, the largest of several; there, those
    attacks count that saw most images. Runs that underwent none of them have no accuracy here.
    Where the runs share attacks, only these count: a run that was attacked more often than the
    others does not look weaker for it.
    """
    entries = {record["name"]: _in_boxes(record) for record in group.finished}
    radii = [radius for own in entries.values() for radius in {e["epsilon"] for e in own}]
    if not radii:
        return Strongest(None, None, "", {}, "")
    radius = max(set(radii), key=lambda candidate: (radii.count(candidate), candidate))
    at = {name: [e for e in own if e["epsilon"] == radius] for name, own in entries.items()}
    images = max(entry["images"] for own in at.values() for entry in own)
    at = {name: [e for e in own if e["images"] == images] for name, own in at.items()}
    at = {name: own for name, own in at.items() if own}
    shared = set.intersection(*({_kind(entry) for entry in own} for own in at.values()))
    counted = {
        name: [entry for entry in own if not shared or _kind(entry) in shared]
        for name, own in at.items()
    }
    return Strongest(
        epsilon=radius,
        images=images,
        attacks=_in_words({_kind(entry) for own in counted.values() for entry in own}),
        accuracies={
            name: min(entry["robust_accuracy"] for entry in own) for name, own in counted.items()
        },
        warnings="; ".join(
            dict.fromkeys(
                text for own in counted.values() for e in own for text in e.get("warnings") or []
            )
        ),
    )


def _in_boxes(record: Record) -> list[dict[str, Any]]:
    return [
        entry
        for entry in record["robustness"]
        if (entry.get("parameters") or {}).get("distance", "l_inf") == "l_inf"
    ]


def _kind(entry: Mapping[str, Any]) -> _Kind:
    return entry["attack"], entry["steps"]


def _in_words(kinds: Iterable[_Kind]) -> str:
    """Attacks with their steps.

    >>> _in_words({("pgd", 50), ("apgd", 100), ("fgsm", 1)})
    'apgd of 100 steps, fgsm of 1 step, pgd of 50 steps'
    """
    return ", ".join(f"{name} of {steps} step{'s' * (steps != 1)}" for name, steps in sorted(kinds))
