"""Ablations of the DP rows (clipping alone, noise alone) and positive controls for faults."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.report import display_names, paper, plot_styles
from ft_tf.report.display_names import CONTROLS, parts_of
from ft_tf.report.exhibits import Column, Exhibit, Plot, per_architecture, register
from ft_tf.report.exhibits.fault_tolerance import fault_curve, targets_of
from ft_tf.report.groups import Group
from ft_tf.report.matched import PrivateRow, match, private_rows
from ft_tf.report.plot_styles import FAMILIES, Look
from ft_tf.report.replicates import deviation, mean_of
from ft_tf.report.table import count, text
from ft_tf.report.tidy import TARGETS, Study, accuracy_at, chance, finished, normalized_auc

RATES = (0.1, 0.5, 0.9)
_Drawn = list[tuple[Group, Look]]
_DP, _CLIP = FAMILIES["dpsgd"], FAMILIES["other"][2]
_REFERENCES = {
    "natural": Look("natural", FAMILIES["natural"][0], "o"),
    "tikhonov": Look("Tikhonov", FAMILIES["tikhonov"][0], "D"),
}


def _part(exhibit: str, architecture: str, part: str) -> str:
    return f"{paper.EXHIBITS[exhibit].title}, {display_names.architecture(architecture)}: {part}"


class Ablations(Exhibit):
    """A block per table, architecture and data; blocks without any ablation are left out.

    First what is there once (natural, Tikhonov, the controls, clipping alone), then for each DP row
    the row itself, its noise alone, and natural training stopped at its accuracy.
    """

    name, order = "ablations", 60
    title = "Effects of clipping and noise, and positive controls"
    columns = (
        Column(("exhibit", "architecture", "part"), "part", "", _part, is_text=True),
        Column("train", "train", "accuracy", priority=1),
        Column("test", "test", "accuracy"),
        Column("generalization_error", "gap"),
        *(
            Column(f"{target}_{rate}", f"{rate}%", f"faulty {target}", priority=priority)
            for target in TARGETS
            for rate, priority in ((10, 4), (50, 0), (90, 3))
        ),
        *(
            Column(f"{target}_normalized_auc", target, "normalized accuracy", priority=2)
            for target in TARGETS
        ),
        Column("replicates", "n", format=count),
    )
    details = (
        Column("run", "", format=text),
        Column("breakdowns", "", format=text),
        Column("data", "data", format=text),
        Column("test_sd", "standard deviation over seeds, test"),
        Column("generalization_error_sd", "gap"),
    )
    note = (
        "Percent; means over n seeds. For each DP row: its noise without clipping, and natural "
        "training stopped at its accuracy; once per table: clipping without noise, and trainings "
        "that are meant to withstand faults. Normalized accuracy is the share of the accuracy above "
        "chance that is left, averaged over 0 to 90% faults."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """See the class."""
        blocks: dict[tuple[str, ...], list[PrivateRow]] = {}
        for entry in private_rows(study):
            key = (parts_of(entry.row)[0], *entry.private.setting)
            blocks.setdefault(key, []).append(entry)
        lines = []
        for (exhibit, *_), entries in blocks.items():
            first = entries[0]
            controls = {
                f"control: {display_names.algorithm(name)}": match(
                    study, first.row, first.private, name
                )
                for name in CONTROLS
            }
            once = {
                "natural": first.natural,
                "Tikhonov": first.tikhonov,
                **controls,
                "clipping alone": first.clip_only,
            }
            block = list(once.items())
            for entry in by_noise(entries):
                block += [
                    (f"DP-SGD, noise multiplier {entry.noise_multiplier:g}", entry.private),
                    ("its noise alone", entry.noise_only),
                    ("natural, stopped at its accuracy", entry.stopped),
                ]
            block = [(part, group) for part, group in block if group is not None]
            if len(block) > len(entries) + bool(first.natural) + bool(first.tikhonov):
                lines += [_line(exhibit, part, group) for part, group in block]
        return pd.DataFrame(lines)

    def plots(self, study: Study) -> Sequence[Plot]:
        """A figure for each architecture."""
        return per_architecture(study, "ablations", "DP runs and their ablations", draw_ablations)


def by_noise(entries: Sequence[PrivateRow]) -> list[PrivateRow]:
    """DP rows, most noise first."""
    return sorted(entries, key=lambda entry: -entry.noise_multiplier)


def _line(exhibit: str, part: str, group: Group) -> dict[str, Any]:
    samples, runs = group.samples, group.finished
    return {
        "data": group.data,
        "exhibit": exhibit,
        "architecture": group.config["architecture"],
        "part": part,
        "run": group.run,
        "row": group.row,
        "replicates": len(samples),
        **{name: group.mean(name) for name in ("train", "test", "generalization_error")},
        "test_sd": deviation(samples.test),
        "generalization_error_sd": deviation(samples.generalization_error),
        "breakdowns": group.breakdowns,
        **{
            f"{target}_{round(100 * rate)}": mean_of(accuracy_at(r, target, rate) for r in runs)
            for target in TARGETS
            for rate in RATES
        },
        **{
            f"{target}_normalized_auc": mean_of(normalized_auc(r, target) for r in runs)
            for target in TARGETS
        },
        "records": group.names,
    }


def draw_ablations(study: Study, architecture: str) -> Figure:
    """Three rows: DP at equal accuracy; clipping and noise apart; positive controls.

    Bands are 95% and drawn where they distinguish curves: in the first row and of the controls.
    """
    entries = [e for e in private_rows(study) if e.private.config["architecture"] == architecture]
    entries = by_noise(entries)
    rows = {
        "at equal accuracy": _at_equal_accuracy(entries),
        "clipping and noise apart": _apart(entries),
        "trained to withstand faults": _controls(study, architecture),
    }
    rows = {title: drawn for title, drawn in rows.items() if drawn}
    if not rows:
        raise RunError(f"no figure of ablations for {architecture}: none is on record")
    title = f"{display_names.describe_architecture(architecture)}: DP rows and their ablations"
    figure, axes = plot_styles.panels(
        len(rows), 2, title=title, height=3.0, width=5.0, share_y=True
    )
    for panel_row, (title, drawn) in zip(axes, rows.items(), strict=True):
        for panel, target in zip(panel_row, TARGETS, strict=True):
            _draw(study, panel, drawn, target, has_band="apart" not in title)
            panel.set_title(f"{title}: {target}")
        panel_row[-1].legend(loc="upper left", bbox_to_anchor=(1.01, 1.03))
    return figure


def _draw(study: Study, axes: Axes, drawn: _Drawn, target: str, *, has_band: bool) -> None:
    for group, look in drawn:
        if target in targets_of(group):
            curve = fault_curve(study, group, target)
            plot_styles.draw_fault_curve(axes, curve, look, label=look.name, has_band=has_band)
    plot_styles.finish_fault_panel(axes, target, chance(drawn[0][0].config["dataset"]))


def _private_look(place: int, entry: PrivateRow) -> Look:
    return Look(f"DP, noise multiplier {entry.noise_multiplier:g}", _DP[place % len(_DP)], "D")


def _at_equal_accuracy(entries: Sequence[PrivateRow]) -> _Drawn:
    drawn: _Drawn = []
    for place, entry in enumerate(entries):
        if entry.stopped is not None:
            look = _private_look(place, entry)
            drawn.append((entry.private, look))
            drawn.append((entry.stopped, Look("  natural, stopped there", look.color, "o", ":")))
    return drawn


def _apart(entries: Sequence[PrivateRow]) -> _Drawn:
    first = next((e for e in entries if e.clip_only or e.noise_only), None)
    if first is None:
        return []
    drawn: _Drawn = [(first.natural, _REFERENCES["natural"])] if first.natural else []
    if first.clip_only is not None:
        drawn.append((first.clip_only, Look("clipping alone", _CLIP, "X")))
    for place, entry in enumerate(entries):
        look = _private_look(place, entry)
        drawn.append((entry.private, look))
        if entry.noise_only is not None:
            drawn.append((entry.noise_only, Look("  its noise alone", look.color, "v", "--")))
    return drawn


def _controls(study: Study, architecture: str) -> _Drawn:
    drawn: dict[str, tuple[Group, Look]] = {}
    for row, groups in study.by_row.items():
        name = parts_of(row)[2]
        for group in finished(groups if name in CONTROLS else ()):
            if group.config.get("architecture") == architecture:
                look = Look(
                    display_names.algorithm(name), FAMILIES["other"][CONTROLS.index(name)], "s"
                )
                drawn.setdefault(group.key, (group, look))
                for reference, reference_look in _REFERENCES.items():
                    found = match(study, row, group, reference)
                    if found is not None:
                        drawn.setdefault(found.key, (found, reference_look))
    is_reference = {look.name for look in _REFERENCES.values()}
    return sorted(drawn.values(), key=lambda pair: pair[1].name not in is_reference)


register(Ablations())
