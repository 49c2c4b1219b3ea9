"""Every pair of rows that the paper orders by generalization error, tested on our replicates."""

import functools
import itertools
import statistics
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scipy import stats

from ft_tf import intervals
from ft_tf.report import display_names, paper
from ft_tf.report.exhibits import Column, Exhibit, register
from ft_tf.report.groups import Group
from ft_tf.report.replicates import FEW, LEAST, why_not
from ft_tf.report.table import number_2, points, text
from ft_tf.report.tidy import Study

LEVEL = 0.05
NOT_COUNTED = "not counted"


def _data(exhibit: str, form: str) -> str:
    title = paper.EXHIBITS[exhibit].title
    return f"{title}, {display_names.FORMS[form]}" if form else title


class Orderings(Exhibit):
    """A pair lies within one table and one architecture of it.

    Our two groups must have run the same architecture on the same data, in the same form, and
    neither be fitted. Rows of one circles record are paired replicate by replicate (paired t test);
    seeds of trained runs are not (Welch's t test). Pairs with fewer than three replicates on a
    side, or of the scale "smoke", are "not counted"; of a single one they are left out. p_holm
    corrects for all others together. verdict is "holds" or "reversed" where p_holm is at most 0.05,
    else "undecided"; remark says why there is no p-value.
    """

    name, order, title = "orderings", 85, "The paper's orderings by gap"
    columns = (
        Column(("smaller_in_paper", "larger_in_paper"), "smaller gap < larger gap", "",
               "{} < {}".format, is_text=True),
        Column(("exhibit", "form"), "data", "", _data, 1, is_text=True),
        Column("paper_difference", "paper", "difference", points),
        Column("difference", "ours", "difference", points),
        Column("p_holm", "p (Holm)", format=number_2),
        Column("verdict", "verdict", format=text),
    )  # fmt: skip
    details = (
        Column("run_larger", "larger", format=text),
        Column("run_smaller", "smaller", format=text),
        Column("test", "test", format=text),
        Column("remark", "remark", format=text),
    )

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        lines = [
            _tested(low, high, smaller, larger)
            for low, high in _ordered()
            for smaller in study.by_row.get(low.id, ())
            for larger in study.by_row.get(high.id, ())
            if smaller.setting == larger.setting and _fits(smaller) and _fits(larger)
        ]
        tested = [line for line in lines if line["p_value"] is not None]
        adjusted = intervals.holm([line["p_value"] for line in tested])
        for line, p in zip(tested, adjusted, strict=True):
            line["p_holm"] = p
            if p <= LEVEL:
                line["verdict"] = "holds" if line["difference"] > 0 else "reversed"
        return lines


def _ordered() -> Iterator[tuple[paper.PaperRow, paper.PaperRow]]:
    """Pairs of rows of one table and architecture, that with the smaller gap first."""
    for exhibit in paper.TABLES:
        for pair in itertools.combinations(paper.rows(exhibit), 2):
            low, high = sorted(pair, key=lambda row: row.generalization_error)
            is_ordered = low.generalization_error < high.generalization_error
            if is_ordered and low.architecture == high.architecture:
                yield low, high


def _fits(group: Group) -> bool:
    return bool(group.finished) and len(group.samples) > 1 and not group.is_fitted


def p_value(
    first: Sequence[float], second: Sequence[float], *, is_paired: bool
) -> tuple[float | None, str]:
    """The two-sided p-value of equal means, by the paired or by Welch's t test.

    None, and why, where the replicates allow none: see `ft_tf.report.replicates`.
    """
    if is_paired:
        why = why_not([a - b for a, b in zip(first, second, strict=True)])
    else:
        why = FEW if min(len(first), len(second)) < LEAST else why_not(first, second)
    if why:
        return None, why
    with warnings.catch_warnings():  # one of the sides may be constant
        warnings.simplefilter("ignore", RuntimeWarning)
        welch = functools.partial(stats.ttest_ind, equal_var=False)
        return float((stats.ttest_rel if is_paired else welch)(first, second).pvalue), ""


def _tested(low: paper.PaperRow, high: paper.PaperRow, a: Group, b: Group) -> dict[str, Any]:
    smaller, larger = (group.samples.generalization_error for group in (a, b))
    is_paired = a.is_circles and a.finished == b.finished
    p, why = p_value(larger, smaller, is_paired=is_paired)
    few = FEW if min(len(smaller), len(larger)) < LEAST else ""
    why_out = "; ".join(dict.fromkeys(filter(None, [a.left_out, b.left_out, few])))
    return {
        "exhibit": low.exhibit,
        "form": a.form,
        "smaller_in_paper": low.label,
        "larger_in_paper": high.label,
        "paper_difference": high.generalization_error - low.generalization_error,
        "run_smaller": a.run,
        "run_larger": b.run,
        "difference": statistics.fmean(larger) - statistics.fmean(smaller),
        "test": "paired t" if is_paired else "Welch t",
        "p_value": None if why_out else p,
        "p_holm": None,
        "verdict": NOT_COUNTED if why_out else "undecided",
        "remark": why_out or why,
    }


register(Orderings())
