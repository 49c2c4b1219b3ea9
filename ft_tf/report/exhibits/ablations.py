"""Ablations of the DP rows (clipping alone, noise alone) and positive controls for faults."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from ft_tf.effects.runs import chance, normalized_auc
from ft_tf.errors import RunError
from ft_tf.report import display_names, paper, plot_styles
from ft_tf.report.display_names import CLIP_ONLY, CONTROLS, NOISE_ONLY, PRIVATE, STOPPED, parts_of
from ft_tf.report.exhibits import Column, Exhibit, Plot, per_architecture, register
from ft_tf.report.groups import Group
from ft_tf.report.plot_styles import FAMILIES, Look
from ft_tf.report.replicates import deviation, mean_of
from ft_tf.report.table import count, text
from ft_tf.report.tidy import TARGETS, Study, finished

SHOWN = 3
"""Noise levels of a panel."""
_Drawn = list[tuple[Group, Look]]
_REFERENCES = {
    "natural": Look("natural", FAMILIES["natural"][0], "o"),
    "tikhonov": Look("Tikhonov", FAMILIES["tikhonov"][0], "D"),
}


def match(study: Study, row: str, group: Group, algorithm: str) -> Group | None:
    """Returns the runs of another row of the same table on the same data and architecture.

    `algorithm` ends the other row's id, such as "natural" or "natural_stopped/2.97".
    """
    exhibit, architecture, *_ = parts_of(row)
    candidates = finished(study.by_row.get(f"{exhibit}/{architecture}/{algorithm}", ()))
    return next((other for other in candidates if other.setting == group.setting), None)


@dataclasses.dataclass(frozen=True)
class PrivateRow:
    """A DP row of the paper as it was run, with its matched groups; None where one was not run."""

    row: str  # its id
    private: Group  # its runs
    stopped: Group | None  # natural runs stopped at its test accuracy, seed by seed
    noise_only: Group | None  # the same noise without clipping
    clip_only: Group | None  # clipped gradients without noise
    natural: Group | None  # the natural row of the same table
    tikhonov: Group | None  # the Tikhonov row of the same table

    @property
    def noise_multiplier(self) -> float:
        """Noise multiplier of the private runs."""
        return self.private.config["algorithm"]["noise_multiplier"]


def private_rows(study: Study) -> list[PrivateRow]:
    """Finished DP rows, most noise first, one entry per architecture and data; none fitted."""
    found = []
    for row, groups in study.by_row.items():
        exhibit, _, algorithm, value = parts_of(row)
        if exhibit.startswith("table") and algorithm == PRIVATE and value:
            partners = (f"{STOPPED}/{value}", f"{NOISE_ONLY}/{value}", CLIP_ONLY, *_REFERENCES)
            found += [
                PrivateRow(row, group, *(match(study, row, group, name) for name in partners))
                for group in finished(groups)
                if not group.is_fitted
            ]
    return sorted(found, key=lambda entry: -entry.noise_multiplier)


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
        *(Column(f"{name}_normalized_auc", name, "normalized", priority=2) for name in TARGETS),
        Column("replicates", "n", format=count),
    )
    details = (
        Column("run", "", format=text),
        Column("breakdowns", "", format=text),
        Column("data", "data", format=text),
        Column("test_sd", "standard deviation over seeds, test"),
        Column("generalization_error_sd", "gap"),
    )

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        blocks: dict[tuple[str, ...], list[PrivateRow]] = collections.defaultdict(list)
        for entry in private_rows(study):
            blocks[parts_of(entry.row)[0], *entry.private.setting].append(entry)
        for (exhibit, *_), entries in blocks.items():
            first = entries[0]
            matches = {name: match(study, first.row, first.private, name) for name in CONTROLS}
            block = [
                ("natural", first.natural),
                ("Tikhonov", first.tikhonov),
                *((f"control: {display_names.algorithm(n)}", g) for n, g in matches.items()),
                ("clipping alone", first.clip_only),
            ]
            for entry in entries:
                block += [
                    (f"DP-SGD, noise multiplier {entry.noise_multiplier:g}", entry.private),
                    ("its noise alone", entry.noise_only),
                    ("natural, stopped at its accuracy", entry.stopped),
                ]
            block = [(part, group) for part, group in block if group is not None]
            if len(block) > len(entries) + bool(first.natural) + bool(first.tikhonov):
                yield from (_line(study, exhibit, part, group) for part, group in block)

    def plots(self, study: Study) -> Sequence[Plot]:
        return per_architecture(study, "ablations", "DP runs and their ablations", draw_ablations)


def _line(study: Study, exhibit: str, part: str, group: Group) -> dict[str, Any]:
    return {
        "data": group.data,
        "exhibit": exhibit,
        "architecture": group.config["architecture"],
        "part": part,
        "run": group.run,
        "row": group.row,
        "replicates": len(group.samples),
        **{name: group.mean(name) for name in paper.MEASURES},
        "test_sd": deviation(group.samples.test),
        "generalization_error_sd": deviation(group.samples.generalization_error),
        "breakdowns": group.breakdowns,
        **{
            f"{target}_{rate}": accuracy
            for target in TARGETS
            for rate, accuracy in study.accuracies_at(group, target, (10, 50, 90)).items()
        },
        **{
            f"{target}_normalized_auc": mean_of(normalized_auc(r, target) for r in group.finished)
            for target in TARGETS
        },
        "records": group.names,
    }


def draw_ablations(study: Study, architecture: str) -> Figure:
    """Three rows: DP at equal accuracy; clipping and noise apart; positive controls.

    Bands are 95% and drawn where they distinguish curves: in the first row and of the controls.
    """
    entries = [e for e in private_rows(study) if e.private.config["architecture"] == architecture]
    equal, apart = _private_curves(entries)
    rows = {
        "at equal accuracy": equal,
        "clipping and noise apart": apart,
        "trained to withstand faults": _controls(study, architecture),
    }
    rows = {title: drawn for title, drawn in rows.items() if drawn}
    if not rows:
        raise RunError(f"no figure of ablations for {architecture}: none is on record")
    title = f"{display_names.describe_architecture(architecture)}: DP rows and their ablations"
    figure, axes = plot_styles.panels(len(rows), 2, title=title, share_y=True)
    for panels, (title, drawn) in zip(axes, rows.items(), strict=True):
        for panel, target in zip(panels, TARGETS, strict=True):
            for group, look in drawn:
                curve = study.fault_curve(group, target)
                if len(curve):
                    has_band = drawn is not apart
                    plot_styles.draw_curve(panel, curve, "mean", look, has_band=has_band)
            plot_styles.finish_fault_panel(panel, target, chance(drawn[0][0].records[0]))
            panel.set_title(f"{title}: {target}")
        plot_styles.label_lines(panels[-1])
    return figure


def _private_curves(entries: Sequence[PrivateRow]) -> tuple[_Drawn, _Drawn]:
    """DP rows with their stopped partners, and with clipping and noise apart; most noise first.

    Of each the `SHOWN` rows with most noise: further ones are in the table.
    """
    equal: _Drawn = []
    apart: _Drawn = []
    first = next((e for e in entries if e.clip_only or e.noise_only), None)
    if first and first.natural:
        apart.append((first.natural, _REFERENCES["natural"]))
    if first and first.clip_only:
        apart.append((first.clip_only, Look("clipping alone", FAMILIES["other"][2], "X")))
    most = len(apart) + 2 * (SHOWN - 1)
    private = {entry.private.key: entry.private for entry in entries}
    looks = plot_styles.looks(list(private.values()))
    for entry in entries:
        color = looks[entry.private.key].color
        name = f"DP, noise multiplier {entry.noise_multiplier:g}"
        drawn = (entry.private, Look(name, color, "D"))
        if entry.stopped and len(equal) < 2 * SHOWN:
            equal += [drawn, (entry.stopped, Look("natural, stopped there", color, "o", ":"))]
        if entry.noise_only and len(apart) < most:
            apart += [drawn, (entry.noise_only, Look("its noise alone", color, "v", "--"))]
    return equal, apart


def _controls(study: Study, architecture: str) -> _Drawn:
    """Controls, after the natural and Tikhonov training of the same table."""
    controls: dict[str, tuple[Group, Look]] = {}
    references: dict[str, tuple[Group, Look]] = {}
    for row, groups in study.by_row.items():
        name = parts_of(row)[2]
        for group in finished(groups) if name in CONTROLS else ():
            if group.config.get("architecture") == architecture:
                color = FAMILIES["other"][CONTROLS.index(name)]
                controls.setdefault(
                    group.key, (group, Look(display_names.algorithm(name), color, "s"))
                )
                for other, look in _REFERENCES.items():
                    if found := match(study, row, group, other):
                        references.setdefault(found.key, (found, look))
    return [*references.values(), *controls.values()]


register(Ablations())
