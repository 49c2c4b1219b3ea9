"""How far the paper's gaps and orderings are borne out, with several seeds behind each answer."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import pandas as pd

from ft_tf.records import Record
from ft_tf.report import labels, paper
from ft_tf.report.comparison import paired, unpaired
from ft_tf.report.groups import Group, groups_by_row
from ft_tf.report.spread import EQUAL, FEW, LEAST
from ft_tf.report.tables import accuracy_frame

LEVEL = 0.05
ORDERING_COLUMNS = (
    "exhibit",
    "form",
    "smaller_in_paper",
    "larger_in_paper",
    "paper_difference",
    "run_smaller",
    "run_larger",
    "difference",
    "test",
    "p_value",
    "p_holm",
    "verdict",
    "remark",
)
NOT_COUNTED = "not counted"
_PARTS = {
    **{form: f"Table 3, {title}" for form, title in labels.FORMS.items()},
    "": "Tables 4 to 8",
}
"""What the summary tells apart, by the form of a circles record; other runs have none."""
_TABLES = tuple(exhibit for exhibit in paper.EXHIBITS if exhibit.startswith("table"))


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts over some tables, or all.

    Attributes:
        gaps_inside: printed gaps inside our 95% prediction interval.
        gaps_compared: printed gaps with an interval of ours: lines of a table, a line per variant.
        orderings_hold: orderings by gap that our runs confirm after Holm's correction over all.
        orderings_reversed: orderings that our runs contradict after Holm's correction over all.
        orderings_tested: orderings that count: three replicates or more on both sides.
        median_width: of the prediction intervals of the compared gaps, a fraction; None for none.
    """

    gaps_inside: int
    gaps_compared: int
    orderings_hold: int
    orderings_reversed: int
    orderings_tested: int
    median_width: float | None


@dataclasses.dataclass(frozen=True)
class Verdict(Tally):
    """Counts over all tables.

    Attributes:
        gaps_deviating: of the compared, those of runs with a deviation on their record.
        rows_compared: rows of the paper that those lines belong to.
        rows_total: rows that the paper's tables print.
        fitted_left_out: lines left out since a setting was fitted to the paper's accuracy.
        smoke_left_out: lines left out since they are of the scale "smoke".
        equal_left_out: lines left out since all their replicates are equal.
        orderings_same_sign: orderings whose sign is the paper's, significant or not.
        level: of the family of orderings.
        parts: counts by what was run: Table 3 in its two forms, which test the same printed
            numbers twice, and the other tables.
    """

    gaps_deviating: int
    rows_compared: int
    rows_total: int
    fitted_left_out: int
    smoke_left_out: int
    equal_left_out: int
    orderings_same_sign: int
    level: float
    parts: dict[str, Tally]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: the i-th smallest of m times m - i + 1, made monotone, at most 1.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted


def ordering_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Every pair of rows that the paper orders by gap, tested on our replicates.

    A pair lies within one table and one architecture of it; our two groups must have run the same
    architecture on the same data, in the same form, and neither be fitted. Rows of one circles
    record are paired replicate by replicate (paired t test); seeds of trained runs are not (Welch's
    t test). Pairs with fewer than three replicates on a side, or of the scale "smoke", are "not
    counted"; of a single one they are left out. p_holm corrects for all others together. verdict is
    "holds" or "reversed" where p_holm is at most 0.05, else "undecided"; remark says why there is
    no p-value.
    """
    grouped = groups_by_row(records)
    lines = []
    for exhibit in _TABLES:
        for one, other in itertools.combinations(paper.rows(exhibit), 2):
            printed = (one.generalization_error, other.generalization_error)
            if one.architecture != other.architecture or printed[0] == printed[1]:
                continue
            low, high = (one, other) if printed[0] < printed[1] else (other, one)
            for a in grouped.get(low.id, ()):
                lines += [_tested(low, high, a, b) for b in grouped.get(high.id, ()) if _fits(a, b)]
    tested = [line for line in lines if line["p_value"] is not None]
    adjusted = holm([line["p_value"] for line in tested])
    for line, p in zip(tested, adjusted, strict=True):
        line["p_holm"] = p
        if p <= LEVEL:
            line["verdict"] = "holds" if line["difference"] > 0 else "reversed"
    return pd.DataFrame(lines, columns=list(ORDERING_COLUMNS))


def _fits(a: Group, b: Group) -> bool:
    if min(len(a.finished), len(b.finished)) == 0 or min(len(a.samples), len(b.samples)) < 2:
        return False
    return a.setting == b.setting and not (a.is_fitted or b.is_fitted)


def _tested(
    low: paper.PaperRow, high: paper.PaperRow, a: Group, b: Group
) -> dict[str, str | float | None]:
    smaller, larger = a.samples.gap, b.samples.gap
    is_paired = a.finished == b.finished and a.any_record["kind"] == "circles"
    found = (
        paired(list(zip(larger, smaller, strict=True)), unit="replicate")
        if is_paired
        else unpaired(larger, smaller)
    )
    few = FEW if min(len(smaller), len(larger)) < LEAST else ""
    why_out = "; ".join(dict.fromkeys(filter(None, [a.left_out, b.left_out, few])))
    return {
        "exhibit": low.exhibit,
        "form": a.any_record.get("form", ""),
        "smaller_in_paper": labels.of_paper_row(low),
        "larger_in_paper": labels.of_paper_row(high),
        "paper_difference": high.generalization_error - low.generalization_error,
        "run_smaller": labels.of_run(a),
        "run_larger": labels.of_run(b),
        "difference": found.difference,
        "test": "paired t" if is_paired else "Welch t",
        "p_value": None if why_out else found.p_value,
        "verdict": NOT_COUNTED if why_out else "undecided",
        "remark": why_out or found.why_undecided,
    }


def verdict(records: Iterable[Record]) -> Verdict:
    """Counts how many printed gaps and orderings our records bear out; fitted rows never count."""
    records = list(records)
    lines = pd.concat([accuracy_frame(records, e) for e in _TABLES], ignore_index=True)
    answered = lines[lines["paper_gap_inside"].notna()]
    is_fitted = answered["fitted"].astype(bool)
    compared = answered[~is_fitted]
    printed = lines[lines["gap_difference"].notna()]
    is_smoke, is_equal = printed["smoke"].eq(True), printed["unjudged"].eq(EQUAL)
    orderings = ordering_frame(records)
    orderings = orderings[orderings["verdict"] != NOT_COUNTED]
    return Verdict(
        **vars(_tally(compared, orderings)),
        gaps_deviating=int((compared["deviations"].fillna("") != "").sum()),
        rows_compared=compared["row"].nunique(),
        rows_total=sum(len(paper.rows(exhibit)) for exhibit in _TABLES),
        fitted_left_out=int(is_fitted.sum()),
        smoke_left_out=int(is_smoke.sum()),
        equal_left_out=int((is_equal & ~is_smoke).sum()),
        orderings_same_sign=int((orderings["difference"] > 0).sum()),
        level=LEVEL,
        parts={
            title: _tally(compared[compared["form"] == form], orderings[orderings["form"] == form])
            for form, title in _PARTS.items()
        },
    )


def _tally(compared: pd.DataFrame, orderings: pd.DataFrame) -> Tally:
    return Tally(
        gaps_inside=int(compared["paper_gap_inside"].astype(bool).sum()),
        gaps_compared=len(compared),
        orderings_hold=int((orderings["verdict"] == "holds").sum()),
        orderings_reversed=int((orderings["verdict"] == "reversed").sum()),
        orderings_tested=len(orderings),
        median_width=_median_width(compared),
    )


def _median_width(compared: pd.DataFrame) -> float | None:
    if compared.empty:
        return None
    return float((compared["gap_prediction_high"] - compared["gap_prediction_low"]).median())


def summary_line(records: Iterable[Record]) -> str:
    """The verdict in one line of words; says so where too few seeds per row allow none."""
    found = verdict(records)
    also = {
        "of the scale smoke": found.smoke_left_out,
        "without any spread": found.equal_left_out,
    }
    left_out = ", ".join(
        [f"{found.fitted_left_out} fitted", *(f"{n} {why}" for why, n in also.items() if n)]
    )
    if not found.gaps_compared and not found.orderings_tested:
        return (
            f"No verdict: an answer takes at least {LEAST} seeds, not all equal, of a row that was "
            f"neither fitted nor run at the scale smoke (left out: {left_out})."
        )
    return (
        f"{found.gaps_inside} of {found.gaps_compared} of the paper's gaps lie in our 95% "
        f"prediction interval ({found.rows_compared} of its {found.rows_total} rows compared, "
        f"each variant counted; {found.gaps_deviating} with deviations; {left_out}, not "
        f"counted); {found.orderings_hold} of {found.orderings_tested} of its "
        f"orderings hold, {found.orderings_reversed} are reversed, the rest are undecided "
        f"(tested over seeds, Holm-corrected, level {found.level:g}; "
        f"{found.orderings_same_sign} have the paper's sign). {_in_parts(found)}"
    )


def _in_parts(found: Verdict) -> str:
    """The line's counts apart: Table 3 counts twice, and has the widest intervals."""
    return "; ".join(f"{title}: {_counts(part)}" for title, part in found.parts.items()) + "."


def _counts(part: Tally) -> str:
    width = ""
    if part.median_width is not None:
        width = f" (intervals {100 * part.median_width:.1f} points wide in the median)"
    return (
        f"{part.gaps_inside} of {part.gaps_compared} gaps{width}, {part.orderings_hold} of "
        f"{part.orderings_tested} orderings ({part.orderings_reversed} reversed)"
    )
