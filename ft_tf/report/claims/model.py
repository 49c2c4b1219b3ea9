"""What a claim is, what bears on it, and the one rule by which all of them are judged."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from ft_tf.records import Record
from ft_tf.report import labels, paper
from ft_tf.report.comparison import Comparison
from ft_tf.report.groups import Group, parts_of
from ft_tf.report.spread import LEAST
from ft_tf.report.tradeoff import kind_of
from ft_tf.report.verdict import holm

LEVEL = 0.05
SHARE = 0.5
FOR, AGAINST, OPEN, NOT_COUNTED = "for", "against", "undecided", "not counted"
BORNE_OUT, CONTRADICTED, UNDECIDED = "borne out", "contradicted", "undecided"
UNTESTED, NOT_RUN = "untested", "not run"

RULE = (
    "Every claim is tested by comparisons that are fixed in the code, with the direction in which "
    "it points. A comparison counts if both sides ran on the same data with the same architecture, "
    "neither was fitted to the paper's accuracies or is of the scale smoke, and no reason beside "
    f"it takes it out. Where both sides have {LEAST} values or more, and one of them values that "
    "are not all equal, it has a two-sided p-value, corrected by Holm's method over the counted "
    "comparisons of its claim that have one; without, it is undecided. At a corrected p of at "
    f"most {LEVEL:g} a comparison speaks for or against. A claim is borne out if at least half of "
    "its counted comparisons speak for it and none against; contradicted if at least half speak "
    "against it and none for it; untested if no comparison counts; not run if nothing was run that "
    "bears on it; undecided otherwise."
)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One comparison that bears on a claim.

    Attributes:
        what: where, and which against which.
        measure: the figure that is compared; a fraction, printed in points.
        comparison: the outcome.
        sign: +1 if a positive difference speaks for the claim, -1 if a negative one, 0 for context
            that never counts.
        runs: both sides in full.
        records: names of the records behind it, with blanks between.
        remark: why it does not count, or what to bear in mind.
        is_out: taken out of the count, for the reason in `remark`.
        unconfirmed: the comparison before another one had to say the same; None where none had to.
        beside: the one that had to; None where none had to, or where it was not run.
        p_holm: corrected p-value, None where there is none.
        bearing: "for", "against", "undecided" or "not counted".
    """

    what: str
    measure: str
    comparison: Comparison
    sign: int
    runs: str = ""
    records: str = ""
    remark: str = ""
    is_out: bool = False
    unconfirmed: Comparison | None = None
    beside: Comparison | None = None
    p_holm: float | None = None
    bearing: str = NOT_COUNTED

    @property
    def counts(self) -> bool:
        """Whether it takes part in the verdict."""
        return self.sign != 0 and not self.is_out

    @property
    def has_claims_sign(self) -> bool:
        """Whether it points the claim's way, and so does what has to say the same."""
        needed = [self.comparison, *([self.beside] if self.unconfirmed is not None else [])]
        return all(one is not None and self.sign * one.difference > 0 for one in needed)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper, with what would bear it out; `views.claims` says what was amended.

    Attributes:
        id: short name.
        title: the claim in one sentence.
        printed: what the paper prints for it.
        test: which comparisons count, in words.
        evidence: makes the comparisons from records.
        counter: what in the paper's own numbers speaks against it.
        caveats: what to bear in mind; the first stands beside a verdict wherever it is printed.
    """

    id: str
    title: str
    printed: Callable[[], str]
    test: str
    evidence: Callable[[Sequence[Record]], list[Evidence]]
    counter: Callable[[], list[str]]
    caveats: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Judged:
    """A claim with its evidence and the verdict.

    Attributes:
        claim: the claim.
        evidence: all comparisons, the counted ones first.
        verdict: "borne out", "contradicted", "undecided", "untested" or "not run".
        reason: how the verdict follows.
        unconfirmed: the verdict if no comparison had to be confirmed by another one, with its
            count; "" where none had to.
    """

    claim: Claim
    evidence: tuple[Evidence, ...]
    verdict: str
    reason: str
    unconfirmed: str = ""

    def count(self, bearing: str) -> int:
        """How many comparisons have this bearing."""
        return sum(entry.bearing == bearing for entry in self.evidence)


def judge(claim: Claim, records: Iterable[Record]) -> Judged:
    """Applies `RULE` to a claim."""
    found = claim.evidence(list(records))
    judged = _judged(claim, found)
    if all(entry.unconfirmed is None for entry in found if entry.counts):
        return judged
    alone = _judged(
        claim,
        [
            dataclasses.replace(
                entry, comparison=entry.unconfirmed or entry.comparison, unconfirmed=None
            )
            for entry in found
        ],
    )
    tally = f"{alone.count(FOR)} for, {alone.count(AGAINST)} against, {alone.count(OPEN)} undecided"
    return dataclasses.replace(judged, unconfirmed=f"{alone.verdict} ({tally})")


def _judged(claim: Claim, found: Sequence[Evidence]) -> Judged:
    counted = [entry for entry in found if entry.counts]
    corrected = holm([entry.comparison.p_value for entry in counted if _is_decidable(entry)])
    p_values = iter(corrected)
    weighed = [
        _weighed(entry, next(p_values) if _is_decidable(entry) else None) for entry in counted
    ]
    rest = [entry for entry in found if not entry.counts]
    rest.sort(key=lambda entry: entry.sign == 0)
    verdict, reason = _verdict(weighed, bears=any(entry.sign for entry in found))
    return Judged(claim, (*weighed, *rest), verdict, reason)


def _is_decidable(entry: Evidence) -> bool:
    return entry.comparison.is_decidable


def _weighed(entry: Evidence, p_holm: float | None) -> Evidence:
    bearing = OPEN
    if p_holm is not None and p_holm <= LEVEL:
        bearing = FOR if entry.sign * entry.comparison.difference > 0 else AGAINST
    remark = "; ".join(filter(None, [entry.remark, entry.comparison.why_undecided]))
    return dataclasses.replace(entry, p_holm=p_holm, bearing=bearing, remark=remark)


def _verdict(weighed: Sequence[Evidence], *, bears: bool) -> tuple[str, str]:
    if not bears:
        return NOT_RUN, "no run on record bears on it"
    if not weighed:
        return UNTESTED, "no comparison counts; the reasons stand beside them"
    pro, contra = (sum(e.bearing == bearing for e in weighed) for bearing in (FOR, AGAINST))
    signs = sum(entry.has_claims_sign for entry in weighed)
    tally = (
        f"of {len(weighed)} comparisons {pro} speak for it, {contra} against, "
        f"{len(weighed) - pro - contra} are undecided ({signs} have the claim's sign)"
    )
    if pro and contra:
        return UNDECIDED, f"evidence on both sides: {tally}"
    if pro and pro >= SHARE * len(weighed):
        return BORNE_OUT, tally
    if contra and contra >= SHARE * len(weighed):
        return CONTRADICTED, tally
    if all(max(e.comparison.counts) < 2 for e in weighed):
        return UNDECIDED, f"one seed against one throughout: {tally}"
    if not any(_is_decidable(e) for e in weighed):
        reasons = dict.fromkeys(e.comparison.why_undecided for e in weighed)
        return UNDECIDED, f"{'; '.join(reasons)} throughout: {tally}"
    return UNDECIDED, tally


def of_groups(
    first: Group,
    second: Group,
    comparison: Comparison,
    *,
    measure: str,
    sign: int,
    remark: str = "",
    is_out: bool = False,
) -> Evidence:
    """Evidence from two groups; fitted runs and those of the scale smoke never count."""
    deviations = (
        text for group in (first, second) for r in group.finished for text in r["deviations"]
    )
    why_out = left_out(first, second)
    parts = [why_out, remark, labels.deviations("; ".join(dict.fromkeys(deviations)))]
    return Evidence(
        what=f"{where(first)}: {kind_of(first)} against {kind_of(second)}",
        measure=measure,
        comparison=comparison,
        sign=sign,
        runs=f"{labels.of_run(first)} against {labels.of_run(second)}; {comparison.method}",
        records=" ".join(dict.fromkeys(f"{first.names} {second.names}".split())),
        remark="; ".join(filter(None, parts)),
        is_out=is_out or bool(why_out),
    )


def left_out(*groups: Group) -> str:
    """Why a comparison of these groups never counts; "" where it does."""
    return "; ".join(dict.fromkeys(filter(None, (group.left_out for group in groups))))


def where(group: Group) -> str:
    """Table and architecture of a group's row.

    A run that serves several rows is named by the one under which it was found.
    """
    exhibit, architecture, _, _ = parts_of(group.row)
    title = paper.EXHIBITS[exhibit].title if exhibit in paper.EXHIBITS else exhibit
    return f"{title}, {labels.architecture(group.config.get('architecture', architecture))}"


def points(fraction: float | None, *, digits: int = 2, signed: bool = False) -> str:
    """A fraction in points, for sentences.

    >>> points(0.0926), points(-0.014, digits=1), points(0.5, signed=True)
    ('9.26', '-1.4', '+50.00')
    """
    if fraction is None or math.isnan(fraction):
        return "?"
    return f"{100 * fraction:{'+' if signed else ''}.{digits}f}"
