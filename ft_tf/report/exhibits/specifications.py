"""The specification curve: in which settings that were run does a claim of the paper hold."""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ft_tf import effects
from ft_tf.report import plot_styles
from ft_tf.report.exhibits import Column, Exhibit, Plot, count, register, text
from ft_tf.report.plot_styles import FAMILIES
from ft_tf.report.table import number_3
from ft_tf.report.tidy import Study

COMPARISONS = {
    "counted": "as judged", "control": "as judged, epsilon above 25", "context": "as trained",
}  # fmt: skip
SHOWN = {"dp_tolerance": "dpsgd", "robust_overfit": "trades"}
"""Claims of the figure, with the algorithm whose color they have."""


def settings(study: Study) -> pd.DataFrame:
    """A line per claim, comparison, network and setting; `effect` above 0 is the paper's sign."""
    claims = study.computed(effects.claims)
    rows = effects.rows_frame(claims)
    rows = rows[rows["role"].isin(COMPARISONS)]
    signs = {claim.id: claim.sign for claim in claims}
    return rows.assign(
        comparison=rows["role"].map(COMPARISONS), effect=rows["estimate"] * rows["claim"].map(signs)
    )


class Specifications(Exhibit):
    """A line per claim and comparison."""

    name, order = "specifications", 68
    title = "Specification curve: the settings in which each claim holds"
    columns = (
        Column("sentence", "claim", format=text),
        Column("comparison", "comparison", format=text),
        Column("networks", "networks", format=count, priority=1),
        Column("settings", "settings", format=count),
        Column("holds", "as claimed", format=count),
        Column("low", "smallest", "effect, points", number_3, 1),
        Column("median", "median", "effect, points", number_3),
        Column("high", "largest", "effect, points", number_3, 1),
    )
    details = ()

    def parts(self, study: Study) -> Sequence[Exhibit]:
        return [self] if len(settings(study)) else []

    def frame(self, study: Study) -> pd.DataFrame:
        grouped = settings(study).groupby(["claim", "comparison"], sort=False)
        frame = grouped.agg(
            networks=("network", "nunique"),
            settings=("effect", "size"),
            holds=("effect", lambda effect: int((effect > 0).sum())),
            low=("effect", "min"),
            median=("effect", "median"),
            high=("effect", "max"),
            records=("records", lambda names: " ".join(dict.fromkeys(itertools.chain(*names)))),
        ).reset_index()
        sentences = {claim.id: claim.sentence for claim in study.computed(effects.claims)}
        return frame.assign(sentence=frame["claim"].map(sentences))

    def plots(self, study: Study) -> Sequence[Plot]:
        caption = "Effects of the settings, sorted; above 0 is what the paper claims"
        return [Plot(self.name, caption, functools.partial(_draw, study))]


def _draw(study: Study) -> Figure:
    figure, (panels,) = plot_styles.panels(1, len(SHOWN), title="Specification curve")
    found = settings(study)
    for axes, (claim, algorithm) in zip(panels, SHOWN.items(), strict=True):
        for role, line, face in (("counted", "o-", None), ("context", "o:", "white")):
            block = found[found["claim"].eq(claim) & found["role"].eq(role)]
            heights = np.sort(block["effect"].to_numpy(float))
            axes.plot(
                np.linspace(0, 100, len(heights)), heights, line, mfc=face,
                color=FAMILIES[algorithm][0], label=COMPARISONS[role],
            )  # fmt: skip
        axes.axhline(0, color=plot_styles.GRAY, lw=1)
        title = next(c.sentence for c in study.computed(effects.claims) if c.id == claim)
        axes.set(title=title, xlabel="settings, %", ylabel="effect as claimed, points")
        axes.legend()
    return figure


register(Specifications())
