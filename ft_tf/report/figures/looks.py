"""Which groups a figure shows, and how: one algorithm and setting looks the same everywhere.

Colours go by the algorithm and start from Okabe and Ito's, told apart by the colour-blind too:
natural black, Tikhonov green, TRADES orange, DP-SGD blue, darker with more noise, what was fitted
violet. Markers and line styles repeat what colours say, for print without colour.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from ft_tf.records import Record
from ft_tf.report import labels, paper
from ft_tf.report.groups import OTHER, Group, groups_by_row, parts_of
from ft_tf.report.measures import trained_groups
from ft_tf.report.partners import CONTROLS

FAMILIES = {
    "natural": ("#000000", "#7A7A7A", "#B3B3B3"),
    "tikhonov": ("#009E73", "#5CC9A7", "#00573F"),
    "trades": ("#D55E00", "#E69F00", "#8C2D04", "#F3C969", "#FF9478", "#5E3C2E"),
    "dpsgd": ("#08306B", "#0072B2", "#56B4E9", "#A6CEE3"),
    "fitted": ("#4B0092", "#9A4FD1", "#C9A0E8"),
    "other": ("#CC79A7", "#8C6D1F", "#882255", "#F0A6CA", "#B2B24C", "#6A6ACD", "#3D5A45"),
}
MARKERS = {
    "natural": ("o", "P", "X"),
    "tikhonov": ("s", "D", "H"),
    "trades": ("^", "v", "<", ">"),
    "dpsgd": ("D", "d", "p", "h"),
    "fitted": ("1", "2", "3"),
    "other": ("*", "X", "P", "v", "s"),
}
STYLES = ("-", "--", "-.", ":")


@dataclasses.dataclass(frozen=True)
class Look:
    """How a group is drawn.

    Attributes:
        name: goes into the legend.
        color: of lines, bars and bands.
        marker: of points.
        style: of lines.
    """

    name: str
    color: str
    marker: str
    style: str


def family_of(group: Group) -> str:
    """What gives a group its colours; arms and controls are "other"."""
    algorithm = parts_of(group.row)[2]
    if group.is_fitted:
        return "fitted"
    if algorithm in CONTROLS or algorithm.startswith("dpsgd_"):
        return "other"
    name = (group.config.get("algorithm") or {}).get("name", "")
    return name if name in FAMILIES else "other"


def looks(groups: Sequence[Group]) -> dict[str, Look]:
    """Key of each group -> its look; equal names, as in panels of two architectures, look alike."""
    names = labels.short_runs(groups)
    places: dict[str, dict[str, int]] = {family: {} for family in FAMILIES}
    for group in sorted(groups, key=_strength):
        known = places[family_of(group)]
        known.setdefault(names[group.key], len(known))
    found = {}
    for group in groups:
        family, name = family_of(group), names[group.key]
        place = places[family][name]
        colors, markers = FAMILIES[family], MARKERS[family]
        found[group.key] = Look(
            name,
            colors[place % len(colors)],
            markers[place % len(markers)],
            STYLES[place % len(STYLES)],
        )
    return found


def _strength(group: Group) -> float:
    """Most noise first; the smallest ball first."""
    options = group.config.get("algorithm") or {}
    return options.get("epsilon") or -(options.get("noise_multiplier") or 0.0)


def is_main(row: str) -> bool:
    """Whether a row is the paper's, or a run of ours that is none of the arms beside it."""
    exhibit, _, algorithm, value = parts_of(row)
    if exhibit == OTHER or paper.is_row(row):
        return True
    return algorithm.startswith("trades") or (algorithm == "dpsgd" and bool(value))


def of_exhibit(records: Sequence[Record], exhibit: str) -> list[Group]:
    """Main groups of finished trained runs of an exhibit or of "other", in the paper's order."""
    grouped = groups_by_row(records)
    rows = () if exhibit == OTHER else paper.rows(exhibit)
    order = {row.id: index for index, row in enumerate(rows)}
    ids = [row for row in grouped if parts_of(row)[0] == exhibit and is_main(row)]
    ids.sort(key=lambda row: (order.get(row, len(order)), row))
    return [
        group
        for row in ids
        for group in grouped[row]
        if group.finished and group.any_record["kind"] == "run"
    ]


def of_architecture(records: Iterable[Record], architecture: str) -> list[Group]:
    """Main groups of finished runs of an architecture, each once, in the paper's order."""
    return [
        group
        for group, rows in trained_groups(records)
        if group.config["architecture"] == architecture and any(map(is_main, rows.split()))
    ]


def architectures(records: Iterable[Record]) -> list[str]:
    """Architectures of all finished trained runs, in the order in which the labels know them."""
    found = {group.config["architecture"] for group, _ in trained_groups(records)}
    known = [name for name in labels.ARCHITECTURES if name in found]
    return known + sorted(found - set(known))


def by_architecture(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Groups by their architecture, for figures with a panel for each."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(group.config["architecture"], []).append(group)
    return found
