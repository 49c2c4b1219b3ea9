"""DP runs beside what tells clipping, noise and accuracy apart, and positive controls."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.report import fault_measures, labels
from ft_tf.report.figures.faults import TARGETS, draw_curve, name_axes
from ft_tf.report.figures.looks import FAMILIES, Look
from ft_tf.report.figures.style import legend_beside, panels
from ft_tf.report.groups import Group, groups_by_row, parts_of
from ft_tf.report.partners import CONTROLS, PrivateRow, finished, private_rows

_Drawn = list[tuple[Group, Look]]
_DP = FAMILIES["dpsgd"]
_NATURAL, _CLIP = FAMILIES["natural"][0], FAMILIES["other"][2]
_REFERENCES = ("natural", "Tikhonov")
_CONTROL_NAMES = {
    "natural_dropout": "dropout",
    "natural_fault_aware": "faults in training",
    "jacobian_penalty": "Jacobian penalty",
}


def arms(records: Sequence[Record], architecture: str) -> Figure:
    """Three rows: DP at equal accuracy; clipping and noise apart; positive controls.

    Bands are 95% and drawn where they tell curves apart: of the first row and of the controls.
    """
    entries = _entries(records, architecture)
    rows = {
        "at equal accuracy": _at_equal_accuracy(entries),
        "clipping and noise apart": _apart(entries),
        "trained to withstand faults": _controls(records, architecture),
    }
    rows = {title: drawn for title, drawn in rows.items() if drawn}
    if not rows:
        raise RunError(f"no arms figure for {architecture}: no arm beside its rows is on record")
    figure, axes = panels(
        len(rows),
        2,
        title=f"{labels.in_words(architecture)}: what stands beside the DP rows",
        height=3.0,
        width=5.0,
        share_y=True,
    )
    for panel_row, (title, drawn) in zip(axes, rows.items(), strict=True):
        for panel, target in zip(panel_row, TARGETS, strict=True):
            _draw(panel, drawn, target, has_band="apart" not in title)
            panel.set_title(f"{title}: {target}")
        legend_beside(panel_row[-1])
    return figure


def _draw(axes: Axes, drawn: _Drawn, target: str, *, has_band: bool) -> None:
    for group, look in drawn:
        if target in fault_measures.targets_of(group):
            draw_curve(axes, group, target, look, has_band=has_band)
    name_axes(axes, target)


def _entries(records: Sequence[Record], architecture: str) -> list[PrivateRow]:
    """The DP rows of an architecture, from the most noise on."""
    found = [e for e in private_rows(records) if e.private.config["architecture"] == architecture]
    return sorted(found, key=lambda entry: -_sigma(entry))


def _sigma(entry: PrivateRow) -> float:
    return entry.private.config["algorithm"]["noise_multiplier"]


def _look(name: str, color: str, marker: str, style: str = "-") -> Look:
    return Look(name, color, marker, style)


def _at_equal_accuracy(entries: Sequence[PrivateRow]) -> _Drawn:
    drawn: _Drawn = []
    for place, entry in enumerate(entries):
        if entry.stopped is not None:
            color, sigma = _DP[place % len(_DP)], f"{_sigma(entry):g}"
            drawn.append((entry.private, _look(f"DP, noise multiplier {sigma}", color, "D")))
            drawn.append((entry.stopped, _look("  natural, stopped there", color, "o", ":")))
    return drawn


def _apart(entries: Sequence[PrivateRow]) -> _Drawn:
    drawn: _Drawn = []
    first = next((e for e in entries if e.clip_only or e.noise_only), None)
    if first is None:
        return []
    if first.natural is not None:
        drawn.append((first.natural, _look("natural", _NATURAL, "o")))
    if first.clip_only is not None:
        drawn.append((first.clip_only, _look("clipping alone", _CLIP, "X")))
    for place, entry in enumerate(entries):
        color, sigma = _DP[place % len(_DP)], f"{_sigma(entry):g}"
        drawn.append((entry.private, _look(f"DP, noise multiplier {sigma}", color, "D")))
        if entry.noise_only is not None:
            drawn.append((entry.noise_only, _look("  its noise alone", color, "v", "--")))
    return drawn


def _controls(records: Sequence[Record], architecture: str) -> _Drawn:
    drawn: _Drawn = []
    for row, groups in groups_by_row(records).items():
        exhibit, _, algorithm, _ = parts_of(row)
        if algorithm not in CONTROLS:
            continue
        for group in finished(groups):
            if group.config.get("architecture") == architecture:
                color = FAMILIES["other"][CONTROLS.index(algorithm)]
                drawn.append((group, _look(_CONTROL_NAMES[algorithm], color, "s")))
                drawn += _references(records, exhibit, group)
    unique = {group.key: (group, look) for group, look in drawn}
    return sorted(unique.values(), key=lambda pair: pair[1].name not in _REFERENCES)


def _references(records: Sequence[Record], exhibit: str, control: Group) -> _Drawn:
    """Natural and Tikhonov training of the same table."""
    looks = {
        "natural": _look(_REFERENCES[0], _NATURAL, "o"),
        "tikhonov": _look(_REFERENCES[1], FAMILIES["tikhonov"][0], "D"),
    }
    return [
        (group, looks[parts_of(row)[2]])
        for row, groups in groups_by_row(records).items()
        if parts_of(row)[0] == exhibit and parts_of(row)[2] in looks
        for group in finished(groups)
        if group.setting == control.setting
    ]
