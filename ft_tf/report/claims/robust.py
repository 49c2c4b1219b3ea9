"""Claims about adversarial training: tolerance, overfitting, the size of the ball, Figure 3."""

import itertools
import statistics
from collections.abc import Iterable, Sequence

from ft_tf.records import Record
from ft_tf.report import labels, paper
from ft_tf.report.claims.confirmed import confirmed
from ft_tf.report.claims.model import Claim, Evidence, of_groups, points
from ft_tf.report.comparison import Comparison, Measure, gap, unpaired, values
from ft_tf.report.equal_training import gap_at, robust_pairs
from ft_tf.report.fault_measures import kept, seeds_at_chance
from ft_tf.report.groups import Group, groups_by_row
from ft_tf.report.partners import TARGETS, finished

_BALLS = ("2_255", "4_255", "8_255")


def _compared(first: Group, second: Group, measure: Measure) -> Comparison | None:
    sides = values(first, measure), values(second, measure)
    return unpaired(*sides) if all(sides) else None


def _kept(target: str) -> Measure:
    return lambda record: kept(record, target)


def _drop(target: str, part: str = "drop") -> Measure:
    def drop(record: Record) -> float | None:
        found = (record["faults"].get(target) or {}).get("drop_50_to_90")
        return found[part] if found else None

    return drop


def _gap_of(id: str) -> float:
    return paper.row(id).generalization_error


def _tolerance(records: Sequence[Record]) -> list[Evidence]:
    found = []
    for beside, sign in (("natural", -1), ("tikhonov", 0)):
        for _, robust, other in robust_pairs(records, beside):
            for target in TARGETS:
                comparison = _compared(robust, other, _kept(target))
                if comparison is not None:
                    found.append(
                        of_groups(
                            robust,
                            other,
                            comparison,
                            measure=f"kept, faulty {target}",
                            sign=sign,
                            remark="" if sign else "context: against Tikhonov",
                        )
                    )
    return found


def _tolerance_printed() -> str:
    stds = {row.algorithm: row for row in paper.rows("figure_2") if row.dataset == "cifar10"}
    return (
        "The abstract: adversarial robustness lowers fault tolerance. It is inferred from gaps "
        f"(Table 4: {points(_gap_of('table_4/cifar10_cnn/trades'))} points for TRADES, "
        f"{points(_gap_of('table_4/cifar10_cnn/natural'))} for natural training) and from the "
        f"spread of the parameters (Figure 2: {stds['trades'].measure:g} against "
        f"{stds['tikhonov'].measure:g} for Tikhonov)."
    )


def _tolerance_counter() -> list[str]:
    drawn, spreads = (
        {row.algorithm for row in paper.rows(figure)} for figure in ("figure_3", "figure_2")
    )
    lines = []
    if "natural" not in drawn:
        lines.append(
            f"Figure 3, the paper's only measurement of faults, has {_names(drawn)}, and no "
            "naturally trained model."
        )
    if "natural" not in spreads:
        lines.append(
            f"Figure 2 has {_names(spreads)} as well. Its measure can be moved at will by a "
            "rescaling that changes no prediction, with or without faults."
        )
    return lines


def _names(algorithms: Iterable[str]) -> str:
    return " and ".join(sorted(map(labels.algorithm, algorithms)))


def _overfit(records: Sequence[Record]) -> list[Evidence]:
    found = []
    for _, robust, natural in robust_pairs(records):
        found += _gaps(robust, natural, name="natural training")
        comparison = _compared(robust, natural, _robust_gap)
        if comparison is not None:
            found.append(
                of_groups(
                    robust,
                    natural,
                    comparison,
                    measure="gap under attack",
                    sign=0,
                    remark="context: accuracy under attack, training minus test images",
                )
            )
    for _, robust, tikhonov in robust_pairs(records, "tikhonov"):
        found.append(
            of_groups(
                robust,
                tikhonov,
                _compared(robust, tikhonov, gap),
                measure="gap",
                sign=0,
                remark="context: against Tikhonov",
            )
        )
    return found


def _gaps(first: Group, second: Group, *, name: str) -> list[Evidence]:
    """The first's gap against that of the second, called `name`; beside it, at equal training.

    Where the second ended below the first's training accuracy and never reached it, the first has
    not learned less, and its gap at the end speaks by itself.
    """
    end = of_groups(first, second, _compared(first, second, gap), measure="gap", sign=1)
    equal = _at_equal_training(first, second)
    level, end_of_second = (statistics.fmean(group.samples.train) for group in (first, second))
    if equal is None and end_of_second < level:
        return [end]
    judged = confirmed(end, equal, at="equal training accuracy")
    if equal is None:
        return [judged]
    return [
        judged,
        of_groups(
            first,
            second,
            equal,
            measure="gap at equal training accuracy",
            sign=0,
            remark=f"context: {name} as it reached {points(level)}% on the training data",
        ),
    ]


def _at_equal_training(first: Group, second: Group) -> Comparison | None:
    """Gaps where the second reached the first's level; None where no run of it did."""
    train = statistics.fmean(first.samples.train)
    there = [gap_at(record, train) for record in second.finished]
    gaps = [entry[1] for entry in there if entry is not None]
    return unpaired(first.samples.gap, gaps) if gaps else None


def _robust_gap(record: Record) -> float | None:
    found = (entry.get("robust_generalization_error") for entry in record["robustness"])
    return next((value for value in found if value is not None), None)


def _overfit_printed() -> str:
    pairs = [
        (f"{table}", _gap_of(f"{stem}/trades"), _gap_of(f"{stem}/natural"))
        for table, stem in (
            ("Table 4", "table_4/cifar10_cnn"),
            ("Table 5, DNN", "table_5/fmnist_dnn"),
            ("Table 5, CNN", "table_5/fmnist_cnn"),
        )
    ]
    return (
        "Gaps of TRADES against natural training: "
        + "; ".join(f"{name}: {points(a)} against {points(b)}" for name, a, b in pairs)
        + "."
    )


def _overfit_counter() -> list[str]:
    lines = []
    small, natural = (
        _gap_of("table_6/cifar10_cnn/trades/2_255"),
        _gap_of("table_4/cifar10_cnn/natural"),
    )
    if small < natural:
        lines.append(
            f"Table 6's TRADES at 2/255 has a gap of {points(small)} points, below Table 4's "
            f"natural {points(natural)}."
        )
    for name, column, other in (("DNN", "fmnist_dnn", "table_8"), ("CNN", "fmnist_cnn", "table_7")):
        advantage = _gap_of(f"table_5/{column}/trades") - _gap_of(f"table_5/{column}/natural")
        again = abs(_gap_of(f"table_5/{column}/natural") - _gap_of(f"{other}/{column}/natural"))
        if advantage < again:
            lines.append(
                f"{name}: TRADES exceeds natural training by {points(advantage)} points in Table "
                f"5, while two printed natural results (Tables 5 and {other[-1]}) differ by "
                f"{points(again)}."
            )
    return lines


def _more_epsilon(records: Sequence[Record]) -> list[Evidence]:
    grouped = groups_by_row(records)
    found = []
    for low, high in itertools.combinations(_BALLS, 2):
        rows = [f"table_6/cifar10_cnn/trades/{ball}" for ball in (low, high)]
        for a, b in itertools.product(*(finished(grouped.get(row, ())) for row in rows)):
            betas = [group.config["algorithm"]["beta"] for group in (a, b)]
            if a.setting == b.setting and betas[0] == betas[1]:
                found += _gaps(b, a, name="the smaller ball's training")
    return found


def _more_epsilon_printed() -> str:
    gaps = [_gap_of(f"table_6/cifar10_cnn/trades/{ball}") for ball in _BALLS]
    return (
        "Table 6: gaps of "
        + ", ".join(f"{points(value)}" for value in gaps)
        + " points at epsilon_adv 2, 4 and 8 / 255."
    )


def _more_epsilon_counter() -> list[str]:
    trains = [paper.row(f"table_6/cifar10_cnn/trades/{ball}").train_accuracy for ball in _BALLS]
    if trains != sorted(trains):
        return []
    return [
        "Its training accuracies rise with epsilon_adv as well ("
        + ", ".join(points(value) for value in trains)
        + "), where a larger ball is the harder task: the rows hardly differ in epsilon_adv alone."
    ]


def _faults(records: Sequence[Record]) -> list[Evidence]:
    found = []
    for beside in ("tikhonov", "natural"):
        for _, robust, other in robust_pairs(records, beside):
            for target in TARGETS:
                comparison = _compared(robust, other, _drop(target))
                if comparison is not None:
                    found.append(_of_drop(robust, other, comparison, beside, target))
    return found


def _of_drop(
    robust: Group, other: Group, comparison: Comparison, beside: str, target: str
) -> Evidence:
    """Counts for weights against Tikhonov, as in Figure 3, unless a side is at chance by 50%."""
    counted = beside == "tikhonov" and target == "weights"
    sides = (("TRADES", robust), (labels.algorithm(beside), other))
    lost = [
        name + _in_how_many(group, target)
        for name, group in sides
        if seeds_at_chance(group, target)
    ]
    remark = "" if counted else "context: the paper drew weights, against Tikhonov"
    if lost:
        remark = f"{' and '.join(lost)} at chance by 50% faults: a small drop is no tolerance"
    levels = [statistics.fmean(values(group, _drop(target, "at_50"))) for _, group in sides]
    remark += f"{'; ' if remark else ''}at 50% faults " + " against ".join(map(points, levels))
    return of_groups(
        robust,
        other,
        comparison,
        measure=f"drop from 50 to 90%, faulty {target}",
        sign=1 if counted else 0,
        remark=remark,
        is_out=bool(lost),
    )


def _in_how_many(group: Group, target: str) -> str:
    lost, all_seeds = seeds_at_chance(group, target), len(group.finished)
    return f" (in {lost} of {all_seeds} seeds)" if lost < all_seeds else ""


def _faults_printed() -> str:
    drops = {row.algorithm: row.measure for row in paper.rows("figure_3")}
    return (
        "Figure 3: from 50 to 90% faulty parameters TRADES loses "
        f"{points(drops['trades'])} points, Tikhonov {points(drops['tikhonov'])}."
    )


def _faults_counter() -> list[str]:
    notes = {row.note for row in paper.rows("figure_3") if row.note}
    return [
        "A drop that small is what a model at chance by 50% faults has; the paper prints no levels."
    ] + [f"Of its figure: {note}." for note in sorted(notes)]


_EQUAL = (
    "TRADES and natural models differ in test accuracy: what is kept is a share of each one's own."
)

_UNPAIRED = (
    "Seeds are not paired here: two trainings of one seed share their initial weights and the "
    "fault sets, and nothing by which one was made for the other, as a natural training that stops "
    "at the accuracy of its DP run is."
)

TOLERANCE = Claim(
    id="robust_tolerance",
    title="Adversarial training lowers fault tolerance",
    printed=_tolerance_printed,
    test=(
        "TRADES keeps less of its accuracy above chance than natural training of the same table "
        "does, averaged over 0 to 90% faults: weights and units, every setting that was run."
    ),
    evidence=_tolerance,
    counter=_tolerance_counter,
    caveats=(_EQUAL, _UNPAIRED),
)
OVERFIT = Claim(
    id="robust_overfit",
    title="Robust models overfit more",
    printed=_overfit_printed,
    test=(
        "The gap of TRADES is larger than that of natural training of the same table; where "
        "natural training passed TRADES's training accuracy, the gap there must say the same: the "
        "larger of the two p-values counts."
    ),
    evidence=_overfit,
    counter=_overfit_counter,
    caveats=(
        "A short adversarial training has a small gap because it has learned less; the gap at "
        "equal training accuracy stands beside it, interpolated between two epochs of natural "
        "training.",
        _UNPAIRED,
    ),
)
MORE_EPSILON = Claim(
    id="more_epsilon",
    title="More epsilon_adv, more gap",
    printed=_more_epsilon_printed,
    test=(
        "On CIFAR-10, at one beta, the gap at the larger of 2, 4 and 8 / 255 is the larger one; "
        "where the smaller ball's training passed the larger one's training accuracy, the gap "
        "there must say the same: the larger of the two p-values counts."
    ),
    evidence=_more_epsilon,
    counter=_more_epsilon_counter,
    caveats=(
        "In as many epochs a larger ball is learned less well; where the smaller ball's training "
        "passed the larger one's level, the gap at equal training accuracy stands beside it, "
        "interpolated between two epochs.",
    ),
)
FAULTS = Claim(
    id="robust_faults",
    title="Robust models drop more from 50 to 90% faults",
    printed=_faults_printed,
    test=(
        "From 50 to 90% faulty weights TRADES loses more accuracy than Tikhonov of the same table. "
        "A comparison in which a side is at chance by 50% does not count."
    ),
    evidence=_faults,
    counter=_faults_counter,
    caveats=(
        "A drop between two rates depends on where on the curve they fall: a model that has lost "
        "more by 50% has less left to lose, which speaks against the claim and not for the model. "
        "The levels stand beside each comparison; what is kept over all rates is the measure of "
        f'"{TOLERANCE.title}".',
    ),
)
