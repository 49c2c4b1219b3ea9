"""The claims of the paper as effects, findings, and the figure that opens the pages."""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from ft_tf import effects
from ft_tf.effects import Claim, Row
from ft_tf.errors import RunError
from ft_tf.report import display_names, effects_figure, plot_styles, rendering
from ft_tf.report.exhibits import (
    Column,
    Exhibit,
    Plot,
    agreement,
    count,
    orderings,
    private_remedies,
    proxy,
    register,
    text,
    walk_against_epsilon,
)
from ft_tf.report.table import NOTHING, is_missing, number_2, two_decimals
from ft_tf.report.tidy import Study

_FIGURE = (
    "Left: gaps minus those of natural training, at the end of training and at equal learning. "
    "Middle: accuracy lost at 10% stuck-at-0 weights against the gap, a point per model. "
    "Right: accuracy at 10% stuck-at-0 weights against the noise walk of DP-SGD."
)


def _effect(estimate: float, low: float, high: float, id: str) -> str:
    """The effect with its interval, in points; of the premise Kendall's tau.

    >>> _effect(23.04, 20.69, 25.4, "dp_tolerance"), _effect(-0.349, -0.49, -0.168, "premise")
    ('+23.0 [+20.7, +25.4]', 'tau -0.35 [-0.49, -0.17]')
    """
    digits = 2 if id == "premise" else 1
    if is_missing(estimate):
        return NOTHING
    interval = "" if is_missing(low) else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{'tau ' * (id == 'premise')}{estimate:+z.{digits}f}{interval}"


def _interval(low: float, high: float) -> str:
    return NOTHING if is_missing(low) else f"[{low:+.2f}, {high:+.2f}]"


def _range(low: float, high: float) -> str:
    if is_missing(low):
        return NOTHING
    return f"{low:+.2f}" if low == high else f"{low:+.2f} to {high:+.2f}"


def _training(network: str, algorithm: str, seed: int) -> str:
    return f"{display_names.algorithm(algorithm)}, {display_names.network(network)}, seed {seed}"


class Claims(Exhibit):
    """A line per claim; a forest plot for each that has an effect."""

    name, order = "claims", 1
    title = "The paper's claims"
    columns = (
        Column("sentence", "claim", format=text),
        Column(("estimate", "low", "high", "id"), "effect [95%], points", "", _effect,
               is_text=True),
        Column("measure", "effect on", format=text, priority=1),
        Column("networks", "networks", format=count),
        Column("trainings", "n", format=count),
        Column("word", "", format=text, is_word=True),
    )  # fmt: skip
    details = (
        Column(("low_networks", "high_networks"), "networks like these", "", _interval),
        Column(("low_other_network", "high_other_network"), "another network", "", _interval),
        Column(("smallest_network", "largest_network"), "by network", "", _range),
        Column("p_holm", "p that there is none (Holm)", format=number_2),
        Column(
            "p_equivalence_holm",
            "p that it reaches the smallest of interest (Holm)",
            format=number_2,
        ),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        return effects.claims_frame(study.computed(effects.claims))

    def notes(self, frame: pd.DataFrame) -> list[str]:
        lines = zip(frame["sentence"], frame["note"], strict=True)
        return [f"{sentence}: {note}." for sentence, note in lines if note]

    def plots(self, study: Study) -> Sequence[Plot]:
        return [
            Plot(
                f"claim_{claim.id}",
                f"{claim.sentence}: {claim.word}. By network (diamonds) and setting; gray band: "
                "the smallest effect of interest",
                functools.partial(effects_figure.draw_forest, claim),
            )
            for claim in study.computed(effects.claims)
            if not is_missing(claim.estimate)
        ]


class ClaimRows(Exhibit):
    """The lines of the forest plots; only as CSV."""

    name, order = "claims_rows", 1

    def frame(self, study: Study) -> pd.DataFrame:
        frame = effects.rows_frame(study.computed(effects.claims))
        return frame.assign(records=frame["records"].map(" ".join))


class OtherMeasures(Exhibit):
    """Other measures of fault tolerance under the same rule, without words."""

    name, order = "other_measures", 69
    title = "Other measures of fault tolerance at equal accuracy"
    columns = (
        Column("algorithm", "minus natural, stopped", "", display_names.algorithm, is_text=True),
        Column("measure", "measure", format=text),
        Column("estimate", "points", "difference", "{:+.1f}".format),
        Column(("low", "high"), "95%", "difference", _interval),
        Column(("low_networks", "high_networks"), "networks like these", "", _interval, 1),
        Column("networks", "networks", format=count),
        Column("trainings", "n", format=count),
    )
    details = ()

    def frame(self, study: Study) -> pd.DataFrame:
        return effects.other_measures(study.records)


class Remedies(Exhibit):
    """What raises fault tolerance: a training with a remedy, and the same seed without."""

    name, order = "remedies", 71
    title = "What raises fault tolerance: points lost with a remedy and without"
    columns = (
        Column(("network", "algorithm", "seed"), "training", "", _training, is_text=True),
        Column("remedy", "remedy", format=text),
        *(
            Column(f"lost{rate}{part}", header, f"lost at {group} weights", two_decimals)
            for rate, group in (("", "10%"), ("_50", "50%"))
            for part, header in (("", "with"), ("_without", "without"))
        ),
        *(
            Column(f"{name}{part}", header, group, two_decimals, 1)
            for name, group in (("normalized_area", "normalized"), ("test", "test"))
            for part, header in (("", "with"), ("_without", "without"))
        ),
    )
    details = ()

    def frame(self, study: Study) -> pd.DataFrame:
        frame = effects.remedies(study.records)
        return frame.assign(records=frame["record"] + " " + frame["record_without"])


class Findings(Exhibit):
    """A few sentences, and the figure of three panels."""

    name, order, title = "findings", 0, "Findings"

    def frame(self, study: Study) -> pd.DataFrame:
        made = (effects.claims, effects.noise_walk, agreement.agreement, private_remedies.promising)
        walks = study.computed(walk_against_epsilon.runs_of, aside=True)
        found = sentences(
            *map(study.computed, made),
            walk_against_epsilon.explained(walks),
            proxy.gap_at_end(study.computed(proxy.compared, aside=True)),
            proxy.gap_by_axis(study.computed(proxy.runs_of, aside=True)),
            study.computed(effects.other_measures),
            orderings.Orderings().frame(study),
        )
        return pd.DataFrame({"finding": found})

    def plots(self, study: Study) -> Sequence[Plot]:
        return [Plot("answer", _FIGURE, functools.partial(draw_answer, study))]


def sentences(
    claims: Iterable[Claim],
    walk: pd.DataFrame,
    rows: pd.DataFrame,
    remedies: Sequence[tuple[pd.Series, pd.Series]] = (),
    shares: Mapping[str, float] | None = None,
    proxy: Mapping[str, Any] | None = None,
    by_axis: Mapping[str, float] | None = None,
    measures: pd.DataFrame | None = None,
    orderings: pd.DataFrame | None = None,
) -> list[str]:
    """What DP costs, what the noise walk explains, remedies, TRADES, the premise, the agreement.

    Made from what the functions of `Findings.frame` return, with no number typed by hand. A
    sentence whose records are missing is left out.
    """
    # The run that the deviation of clipping alone was taken from has an error of 0 by construction.
    errors = walk["relative_error"].astype(float).abs()
    taus = [
        stats.kendalltau(mine["walk"], mine["lost"]).statistic
        for _, mine in walk.dropna(subset="lost").groupby("network")
        if min(mine["walk"].nunique(), mine["lost"].nunique()) > 2
    ]
    known = {claim.id: claim for claim in claims if not math.isnan(claim.low)}
    counted = [row for row in _rows(known, "dp_tolerance") if row.role == "counted"]
    adam = [row for row in counted if row.label.endswith(", adam")]
    return rendering.notes(
        "findings",
        claims=known,
        taus=[
            (display_names.network(row.network).removesuffix(", F-MNIST"), row.estimate)
            for row in (known["premise"].rows if "premise" in known else ())
        ],
        errors=errors[(walk["walk"] > 0) & (errors > 1e-9)],
        remedies=[
            (display_names.architecture(line["architecture"]), line, plain)
            for line, plain in remedies
        ],
        shares=shares,
        proxy=proxy,
        by_axis=by_axis,
        areas=_areas(measures),
        robust_networks=_networks(
            row for row in _rows(known, "robust_tolerance") if row.role == "network"
        ),
        reversed=_reversed(orderings),
        adam=adam,
        adam_networks=_networks(adam),
        tau=sum(taus) / len(taus) if taus else None,
        of_presets=int(rows["presets_word"].eq(agreement.REPLICATED).sum()),
        words=agreement.by_word(rows).rename(index=display_names.DATASETS),
    )


def _rows(claims: Mapping[str, Claim], name: str) -> Sequence[Row]:
    return claims[name].rows if name in claims else ()


def _networks(rows: Iterable[Row]) -> str:
    names = dict.fromkeys(display_names.network(row.network) for row in rows)
    return ", ".join(name.removesuffix(", F-MNIST") for name in names)


def _areas(measures: pd.DataFrame | None) -> dict[str, pd.Series]:
    """The lines of the normalized areas of TRADES, by what is stuck."""
    if measures is None:
        return {}
    lines = measures[measures["algorithm"].eq(display_names.TRADES)].set_index("measure")
    wanted = {name: f"normalized area, {name}" for name in ("units", "weights")}
    lines = lines[lines["low"].notna()]
    return {name: lines.loc[key] for name, key in wanted.items() if key in lines.index}


def _reversed(orderings: pd.DataFrame | None) -> dict[str, int] | None:
    """How many orderings of Table 3 are reversed on newly drawn points, and of how many."""
    if orderings is None or not len(orderings):
        return None
    drawn = orderings[orderings["form"].eq("redrawn_data")]
    count = int(drawn["verdict"].eq("reversed").sum())
    return {"reversed": count, "all": len(drawn)} if count else None


def draw_answer(study: Study) -> Figure:
    """Three panels: gap differences, the premise, and accuracy against the noise walk."""
    models = study.computed(effects.premise)
    if not len(models):
        raise RunError("no figure of the findings: no finished run has fault curves")
    claims = {claim.id: claim for claim in study.computed(effects.claims)}
    figure, ((left, middle, right),) = plot_styles.panels(1, 3, title="", width=3.3, height=3.2)
    effects_figure.gap_panel(left, claims.values())
    effects_figure.premise_panel(middle, models, claims["premise"])
    effects_figure.walk_panel(right, study.computed(effects.noise_walk))
    return figure


for _exhibit in (Claims(), ClaimRows(), OtherMeasures(), Remedies(), Findings()):
    register(_exhibit)
