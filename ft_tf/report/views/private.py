"""DP runs: bounds, membership inference, what stands beside them."""

from typing import Any

import pandas as pd

from ft_tf.report import labels, paper
from ft_tf.report.membership import ONE_SPLIT
from ft_tf.report.partners import are_equal
from ft_tf.report.spread import LEAST
from ft_tf.report.views.base import (
    NOTHING,
    Cells,
    Column,
    Line,
    View,
    count,
    figure,
    is_missing,
    make_view,
    percent,
    percent_interval,
    plus_minus,
    words,
)

_SEEDS = (
    "Epsilons are those of a run whose noise seed is secret. Where a record carries the seed, so "
    "that the run can be repeated, the guarantee is void for its readers."
)
_BOUNDS: Cells = (
    (Column("run", is_number=False), lambda line: line["run"]),
    (Column("paper's", "own epsilon"), lambda line: figure(line["epsilon_paper"])),
    (Column("RDP", "own epsilon", 3), lambda line: figure(line["epsilon_rdp"])),
    (Column("PLD", "own epsilon"), lambda line: figure(line["epsilon_pld"])),
    (Column("shuffled", "own epsilon", 2), lambda line: figure(line["epsilon_shuffled"])),
    (Column("as printed", "Theorem 1"), lambda line: _bound(line["theorem_1_as_printed"])),
    (
        Column("replace-one", "Theorem 1", 1),
        lambda line: _bound(line["theorem_1_replace_one"]),
    ),
    (Column("that holds", "gap bound"), lambda line: _bound(line["gap_bound"])),
    (Column("gap", "our"), lambda line: percent(line["gap"])),
    (Column("n"), lambda line: count(line["replicates"])),
)


def privacy_bounds(frame: pd.DataFrame) -> View:
    """View of `privacy.bounds_frame`."""
    return make_view(
        frame,
        _BOUNDS,
        title="Own epsilons of the DP-SGD runs, and bounds on their gaps",
        detail=lambda line: (
            f"rows: {line['rows']}; {words(line['sampling'])} sampling, {count(line['steps'])} "
            f"steps, delta {figure(line['delta'])}"
        ),
        notes=(
            'Bounds and gaps in percent; "nothing" is a bound of 100 or more. The epsilon '
            "columns but the shuffled one presuppose Poisson sampling. Theorem 1 as printed takes "
            "an epsilon for adding or removing one example where it needs one for replacing it; "
            "the bound that holds is a total variation.",
            _SEEDS,
        ),
    )


def _bound(value: Any) -> str:
    if is_missing(value):
        return NOTHING
    return percent(value) if value < 1 else "nothing"


_MEMBERSHIP: Cells = (
    (Column("run", is_number=False), lambda line: line["run"]),
    (Column("best threshold", "advantage"), lambda line: percent(line["advantage"])),
    (
        Column("right or wrong", "advantage"),
        lambda line: percent(line["advantage_of_correctness"]),
    ),
    (Column("mean loss", "advantage", 3), lambda line: percent(line["advantage_of_mean_loss"])),
    (Column("found", "true positives"), lambda line: _found(line)),
    (
        Column("95% interval", "true positives", 1),
        lambda line: percent_interval(line["true_positive_low"], line["true_positive_high"]),
    ),
    (Column("by claimed epsilon", "at most", 2), lambda line: percent(line["allowed"])),
    (Column("by replace-one", "at most"), lambda line: percent(line["allowed_replace_one"])),
    (Column("n"), lambda line: count(line["replicates"])),
)


def membership(frame: pd.DataFrame) -> View:
    """View of `membership.membership_frame`."""
    rates = sorted(set(frame["false_positive_rate"].dropna()))
    at = " and ".join(f"{figure(100 * rate)}%" for rate in rates) or "a fixed share of"
    return make_view(
        frame,
        _MEMBERSHIP,
        title="Membership inference by a threshold on the loss",
        detail=_membership_detail,
        notes=(
            'Percent. Advantage is true minus false positive rate. That of the rule "member where '
            'the prediction is right" is R_train - R_test, the generalization error of equation 2: '
            f"the same number. True positives: training images found at {at} false "
            "positives. At most: what an (epsilon, delta) guarantee allows there. The first figure "
            "takes the epsilon that the run claims, which adds or removes an example; the second "
            "takes the one that replaces an example, as the attack does when it sets training "
            "images against test images: that one binds this experiment, on average over runs.",
            *([_UNRESOLVED] if not frame["resolved"].all() else []),
            *([_NARROW] if any(ONE_SPLIT in str(band) for band in frame["band"]) else []),
            _SEEDS,
        ),
    )


_UNRESOLVED = (
    '"Ties": so many test images have a loss of exactly 0 in float64 that no threshold on it takes '
    "few of them for training images. Runs recorded since are judged by log(exp(loss) - 1), which "
    "has no such ties."
)


_NARROW = (
    f'An interval "over {ONE_SPLIT}" takes the threshold of the attack as known, though the test '
    "images set it: it is too narrow. Runs recorded since have one over both splits."
)


def _found(line: Line) -> str:
    return percent(line["true_positive_rate"]) if line["resolved"] else "ties"


def _membership_detail(line: Line) -> str:
    parts = [
        f"{words(line['data'])}; rows: {line['rows']}",
        f"{count(line['members'])} training and {count(line['others'])} test images",
    ]
    if line["resolved"]:
        parts.append(f"interval over {line['band']}")
    if not is_missing(line["epsilon"]):
        parts.append(
            f"claimed epsilon {figure(line['epsilon'])}, replace-one "
            f"{figure(line['epsilon_replace_one'])}, delta {figure(line['delta'])}"
        )
    if not is_missing(line["advantage_sd"]):
        spread = percent(line["advantage_sd"])
        parts.append(f"standard deviation of the advantage over seeds {spread}")
    return "; ".join(parts)


def _pair(measure: str, *, priority: int) -> Cells:
    group = {"test": "no faults", "kept": "kept over 0 to 90%"}.get(
        measure, f"{measure.removeprefix('at_')}% faults"
    )
    return (
        (Column("DP", group, priority), lambda line: percent(line[f"{measure}_private"])),
        (Column("natural", group, priority), lambda line: percent(line[f"{measure}_stopped"])),
        (
            Column("difference", group, min(priority, 1)),
            lambda line: plus_minus(
                line[f"{measure}_difference"],
                line[f"{measure}_low"],
                line[f"{measure}_high"],
                signed=True,
            ),
        ),
    )


_EQUAL: Cells = (
    (Column("DP run", is_number=False), lambda line: line["run"]),
    (Column("stuck at 0", is_number=False), lambda line: line["target"]),
    *_pair("test", priority=0),
    *_pair("at_10", priority=4),
    *_pair("at_50", priority=2),
    *_pair("at_90", priority=3),
    (Column("n"), lambda line: count(line["replicates"])),
)


def equal_accuracy(frame: pd.DataFrame) -> View:
    """View of `partners.equal_accuracy_frame`."""
    return make_view(
        frame,
        _EQUAL,
        title="Fault tolerance at equal accuracy: DP beside natural training stopped at its level",
        detail=_equal_detail,
        notes=(
            "Percent of test accuracy; differences are DP minus natural, paired by training seed, "
            "with the reach of their 95% interval where n, the number of pairs, is "
            f"{LEAST} or more and they are not all equal. The natural training stopped as soon as "
            "it reached the test accuracy of the DP run of its seed: it ends above it, mostly by "
            "less than a point. It takes far fewer steps to get there.",
        ),
    )


def _equal_detail(line: Line) -> str:
    parts = [words(line["data"]), f"rows: {line['rows']}", f"natural: {line['beside']}"]
    kept = percent(line["kept_private"]), percent(line["kept_stopped"])
    parts.append(f"kept over 0 to 90% faults: {kept[0]} and {kept[1]}")
    if not are_equal(line["test_private"], line["test_stopped"]):
        parts.append("NOT EQUAL: test accuracies differ by more than a point")
    return "; ".join(parts)


_ARMS: Cells = (
    (Column("part", is_number=False), lambda line: f"{_where(line)}: {line['part']}"),
    (Column("train", "accuracy", 1), lambda line: percent(line["train"])),
    (Column("test", "accuracy"), lambda line: percent(line["test"])),
    (Column("gap", ""), lambda line: percent(line["gap"])),
    (Column("10%", "faulty weights", 4), lambda line: percent(line["weights_10"])),
    (Column("50%", "faulty weights"), lambda line: percent(line["weights_50"])),
    (Column("90%", "faulty weights", 3), lambda line: percent(line["weights_90"])),
    (Column("10%", "faulty units", 4), lambda line: percent(line["units_10"])),
    (Column("50%", "faulty units"), lambda line: percent(line["units_50"])),
    (Column("90%", "faulty units", 3), lambda line: percent(line["units_90"])),
    (Column("weights", "kept", 2), lambda line: percent(line["weights_kept"])),
    (Column("units", "kept", 2), lambda line: percent(line["units_kept"])),
    (Column("n"), lambda line: count(line["replicates"])),
)


def arms(frame: pd.DataFrame) -> View:
    """View of `partners.arms_frame`."""
    return make_view(
        frame,
        _ARMS,
        title="What clipping does and what noise does, and positive controls",
        detail=_arm_detail,
        notes=(
            "Percent; means over n seeds. Beside each DP row: its noise on gradients that nobody "
            "clips, and natural training stopped at its accuracy; once per table: clipping without "
            "noise, and trainings that are meant to withstand faults. Kept is the share of the "
            "accuracy above chance that is left, averaged over 0 to 90% faults.",
        ),
    )


def _where(line: Line) -> str:
    table = paper.EXHIBITS[line["exhibit"]].title
    return f"{table}, {labels.architecture(line['architecture'])}"


def _arm_detail(line: Line) -> str:
    parts = [line["run"], words(line["breakdowns"]), words(line["data"])]
    if not is_missing(line["gap_sd"]):
        spreads = percent(line["test_sd"]), percent(line["gap_sd"])
        parts.append(f"standard deviation over seeds: test {spreads[0]}, gap {spreads[1]}")
    return "; ".join(filter(None, parts))
