"""Claims about differential privacy: tolerance, the gap, and Theorem 1's bound on it."""

import statistics
from collections.abc import Sequence

from ft_tf import intervals
from ft_tf.privacy import theorem_1
from ft_tf.records import Record
from ft_tf.report import labels, paper
from ft_tf.report.claims.confirmed import confirmed
from ft_tf.report.claims.model import Claim, Evidence, left_out, of_groups, points, where
from ft_tf.report.comparison import (
    Comparison,
    Measure,
    by_seed,
    gap,
    paired,
    test_accuracy,
    unpaired,
    values,
)
from ft_tf.report.fault_measures import kept
from ft_tf.report.groups import Group, steps_of
from ft_tf.report.partners import TARGETS, PrivateRow, are_equal, private_rows
from ft_tf.report.privacy import of_group, worst
from ft_tf.report.spread import why_not
from ft_tf.report.tradeoff import kind_of

_DELTA = 1e-5
_SAYS_SOMETHING = 0.9995
"""From here on a bound prints as 100.0 points, and every gap obeys it."""


def _against(
    first: Group, second: Group | None, measure: Measure, *, name: str, sign: int, remark: str = ""
) -> list[Evidence]:
    if second is None:
        return []
    sides = values(first, measure), values(second, measure)
    if not all(sides):
        return []
    comparison = unpaired(*sides)
    return [of_groups(first, second, comparison, measure=name, sign=sign, remark=remark)]


def _kept(target: str) -> Measure:
    return lambda record: kept(record, target)


def _tolerance(records: Sequence[Record]) -> list[Evidence]:
    found = []
    for entry in private_rows(records):
        for target in TARGETS:
            name = f"kept, faulty {target}"
            found += _at_equal_accuracy(entry, _kept(target), name=name)
            found += _against(
                entry.private,
                entry.natural,
                _kept(target),
                name=name,
                sign=0,
                remark="context: at unequal accuracy",
            )
            found += _clipping_alone(entry, _kept(target), name=name)
    return _once(found)


def _clipping_alone(entry: PrivateRow, measure: Measure, *, name: str) -> list[Evidence]:
    if entry.clip_only is None:
        return []
    return _against(
        entry.clip_only,
        entry.natural,
        measure,
        name=name,
        sign=0,
        remark="context: clipping alone, which gives no privacy",
    )


def _once(found: Sequence[Evidence]) -> list[Evidence]:
    """Clipping alone stands beside every DP row of its table: one copy is enough."""
    seen = {}
    for entry in found:
        seen.setdefault((entry.what, entry.measure, entry.records), entry)
    return list(seen.values())


def _at_equal_accuracy(
    entry: PrivateRow, measure: Measure, *, name: str, sign: int = 1, remark: str = ""
) -> list[Evidence]:
    if entry.stopped is None:
        return []
    found = by_seed(entry.private, entry.stopped, lambda record: _with_test(record, measure))
    if not found:
        return []
    equal = [pair for pair in found if are_equal(pair[0][1], pair[1][1])]
    counted = equal or found
    apart = points(statistics.fmean(a[1] - b[1] for a, b in counted), signed=True)
    remarks = [remark, f"test accuracies differ by {apart} points", *_stopped_after(entry)]
    if len(equal) < len(found):
        remarks.append(f"in {len(found) - len(equal)} of {len(found)} seeds not at equal accuracy")
    return [
        of_groups(
            entry.private,
            entry.stopped,
            paired([(a[0], b[0]) for a, b in counted]),
            measure=name,
            sign=sign,
            remark="; ".join(filter(None, [*remarks, _own_epsilon(entry.private)])),
            is_out=not equal,
        )
    ]


def _with_test(record: Record, measure: Measure) -> tuple[float, float] | None:
    value, test = measure(record), test_accuracy(record)
    return None if value is None or test is None else (value, test)


def _stopped_after(entry: PrivateRow) -> list[str]:
    """How much less training equal accuracy took, where the records have it."""
    private, stopped = steps_of(entry.private), steps_of(entry.stopped)
    return [f"after {stopped} steps against {private}"] if private and stopped else []


def _own_epsilon(private: Group) -> str:
    own = of_group(private)
    if own is None or own.epsilon is None:
        return ""
    return f"own epsilon {own.epsilon:.4g} ({own.epsilon_accounting})"


def _tolerance_printed() -> str:
    rows = [row for row in paper.rows("table_8") if row.algorithm == "dpsgd"]
    gaps = " to ".join(points(row.generalization_error) for row in (rows[0], rows[-1]))
    return (
        "The abstract: differentially private models enhance fault tolerance. It is inferred from "
        f"gaps (Table 8: {gaps} points from epsilon {rows[0].value} to {rows[-1].value})."
    )


def _tolerance_counter() -> list[str]:
    drawn = {row.algorithm for row in paper.rows("figure_3")}
    if "dpsgd" in drawn:
        return []
    names = " and ".join(sorted(map(labels.algorithm, drawn)))
    return [
        f"No fault was put into a private model: Figure 3 has {names} only.",
        _costs_accuracy(),
    ]


def _costs_accuracy() -> str:
    row, natural = (
        paper.row("table_8/fmnist_dnn/dpsgd/0.49"),
        paper.row("table_8/fmnist_dnn/natural"),
    )
    cost = natural.test_accuracy - row.test_accuracy
    return (
        f"Table 8's most private row tests {points(cost)} points below natural training: a model "
        "that knows less has less to lose."
    )


def _gap(records: Sequence[Record]) -> list[Evidence]:
    found = []
    for entry in private_rows(records):
        equal = _at_equal_accuracy(
            entry, gap, name="gap", sign=0, remark="context: at equal test accuracy"
        )
        beside = next((pair.comparison for pair in equal if not pair.is_out), None)
        ends = _against(
            entry.private,
            entry.natural,
            gap,
            name="gap",
            sign=-1,
            remark=_own_epsilon(entry.private),
        )
        found += [confirmed(end, beside, at="equal test accuracy") for end in ends]
        found += equal
        found += _clipping_alone(entry, gap, name="gap")
        found += _against(
            entry.private,
            entry.tikhonov,
            gap,
            name="gap",
            sign=0,
            remark="context: Tikhonov, which gives no privacy",
        )
    return _once(found)


def _gap_printed() -> str:
    parts = []
    for table in ("table_7", "table_8"):
        rows = paper.rows(table)
        natural = next(row for row in rows if row.algorithm == "natural")
        private = [row.generalization_error for row in rows if row.algorithm == "dpsgd"]
        parts.append(
            f"{paper.EXHIBITS[table].title}: {points(min(private))} to {points(max(private))} "
            f"points with DP-SGD, {points(natural.generalization_error)} with natural training"
        )
    return "; ".join(parts) + "."


def _gap_counter() -> list[str]:
    lines = []
    for table in ("table_7", "table_8"):
        rows = paper.rows(table)
        tikhonov = next(row for row in rows if row.algorithm == "tikhonov")
        best = min(
            (row for row in rows if row.algorithm == "dpsgd"),
            key=lambda row: row.generalization_error,
        )
        if tikhonov.generalization_error < best.generalization_error:
            lines.append(
                f"{paper.EXHIBITS[table].title}'s Tikhonov has a gap of "
                f"{points(tikhonov.generalization_error)} points at "
                f"{points(tikhonov.test_accuracy)}% test accuracy, below its best DP row "
                f"({points(best.generalization_error)} at {points(best.test_accuracy)}%)."
            )
    return lines


def _bound(records: Sequence[Record]) -> list[Evidence]:
    found = []
    for entry in private_rows(records):
        stated, gaps = worst(entry.private), entry.private.samples.gap
        for name, key in (
            ("as printed", "theorem_1_as_printed"),
            ("replace-one epsilon", "theorem_1_replace_one"),
            ("total variation", "gap_bound_claimed"),
        ):
            bound = stated.get(key, stated.get("gap_bound") if "claimed" in key else None)
            if bound is not None:
                found.append(_below(entry, gaps, bound, name, _why_out(key, bound, stated)))
    return found


def _why_out(key: str, bound: float, stated: dict) -> str:
    """Why a bound does not count as Theorem 1's, "" if it does."""
    if key == "gap_bound_claimed":
        return "context: the bound that holds, which is not the theorem's"
    if bound >= _SAYS_SOMETHING:
        return "100 points or more: every gap obeys it"
    if key == "theorem_1_as_printed":
        right = stated.get("theorem_1_replace_one")
        if right is None or right >= _SAYS_SOMETHING:
            return (
                "its epsilon adds or removes an example, the proof replaces one; with that epsilon "
                "the bound says nothing"
            )
        return "its epsilon adds or removes an example, the proof replaces one"
    return ""


def _below(
    entry: PrivateRow, gaps: Sequence[float], bound: float, name: str, why_out: str
) -> Evidence:
    shifted = paired([(value, bound) for value in gaps])
    is_context = why_out.startswith("context")
    why_out = "; ".join(filter(None, [left_out(entry.private), why_out]))
    return Evidence(
        what=f"{where(entry.private)}: {kind_of(entry.private)} against the bound, {name}",
        measure="gap minus bound",
        comparison=Comparison(**{**vars(shifted), "method": "Student t, mean over seeds"}),
        sign=0 if is_context else -1,
        runs=f"{labels.of_run(entry.private)}; {_interval(gaps)}",
        records=entry.private.names,
        remark=why_out,
        is_out=bool(why_out),
    )


def _interval(gaps: Sequence[float]) -> str:
    if len(gaps) < 2:
        return "one seed: the expected gap is not known"
    if why_not(gaps):
        return f"no interval of the mean gap: {why_not(gaps)}"
    interval = intervals.mean(gaps, unit="training seed")
    return f"95% interval of the mean gap {points(interval.low)} to {points(interval.high)} points"


def _bound_printed() -> str:
    return "Theorem 1: the generalization error is at most exp(epsilon) - 1 + delta."


def _bound_counter() -> list[str]:
    rows = [row for row in paper.rows("table_8") if row.algorithm == "dpsgd"]
    bounds = {row.value: theorem_1(float(row.value), delta=_DELTA) for row in rows}
    empty = [value for value, bound in bounds.items() if bound >= 1]
    told = [f"{points(bound, digits=1)} points at {v}" for v, bound in bounds.items() if bound < 1]
    return [
        f"With the printed epsilons the bound is {', '.join(told)}, and 100 points or more at "
        f"{', '.join(empty)}, where it says nothing.",
        "The proof replaces one training example by another; the printed epsilons add or remove "
        "one, which is less: the bounds with replace-one epsilons stand in the evidence.",
    ]


_PRIVACY_IN_NAME = (
    "Read each comparison with its own epsilon: in the thousands and above it promises nothing "
    "that anyone would call privacy."
)

TOLERANCE = Claim(
    id="dp_tolerance",
    title="Differential privacy raises fault tolerance",
    printed=_tolerance_printed,
    test=(
        "A DP run keeps more of its accuracy above chance, averaged over 0 to 90% faults, than "
        "natural training of its seed that was stopped at its test accuracy: every DP row, weights "
        "and units, paired by seed. Pairs that differ by more than a point without faults do not "
        "count."
    ),
    evidence=_tolerance,
    counter=_tolerance_counter,
    caveats=(
        "Against fully trained natural models, at unequal accuracy, the comparison is context: a "
        "model that knows less has less to lose.",
        "Clipping alone stands beside it, since it changes the trained weights as well.",
        _PRIVACY_IN_NAME,
        "Equal accuracy takes natural training a small part of the steps: what differs is the "
        "length of training as well. Stopped runs that end at the same step of one seed are one "
        "model: comparisons with them are not independent.",
        "Natural trainings that stop look after each of their first steps since three seeds had "
        "been seen: 16 steps apart they passed the accuracy of noise multiplier 5 by more than a "
        "point, so that those pairs could not count.",
    ),
)
GAP = Claim(
    id="dp_gap",
    title="Differential privacy narrows the gap",
    printed=_gap_printed,
    test=(
        "The gap of a DP run is smaller than that of natural training of the same table, and, "
        "paired by seed, than that of natural training which was stopped at its test accuracy: the "
        "larger of the two p-values counts. Without such a stopped run a row is undecided."
    ),
    evidence=_gap,
    counter=_gap_counter,
    caveats=(
        "DP runs test lower than natural ones: by itself their small gap says only that they have "
        "learned less. At equal test accuracy it shows whether privacy narrows the gap, or the "
        "early stage of training.",
        "Stopped runs end at the first look at which they test above their DP run, on the same "
        "test images. They end up to a point above it, which the differences at equal test "
        "accuracy are hardly larger than, and a test accuracy that was picked so is too high, "
        "and its gap too small.",
        _PRIVACY_IN_NAME,
        "Clipping alone, which gives no privacy, stands beside it.",
    ),
)
BOUND = Claim(
    id="theorem_1",
    title="The gap is bounded by Theorem 1",
    printed=_bound_printed,
    test=(
        "The mean gap over seeds lies below exp(epsilon) - 1 + delta with the epsilon that the "
        "proof needs, which replaces an example. A bound of 100 points or more does not count: "
        "every gap obeys it. The bound as printed does not count: its epsilon is another one."
    ),
    evidence=_bound,
    counter=_bound_counter,
    caveats=(
        "The theorem bounds the expected gap over data and runs; the total variation, which holds "
        "where the theorem says nothing, stands beside it as context.",
    ),
)
