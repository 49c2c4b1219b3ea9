"""Agreement with the rows of the paper's tables, row by row and by data set."""

import pandas as pd

from ft_tf.report import display_names, effects, paper
from ft_tf.report.effects_agreement import NOT_ATTEMPTED, NOT_REPLICATED, REPLICATED, TOLERANCES
from ft_tf.report.exhibits import Column, Exhibit, count, register, text
from ft_tf.report.table import NOTHING, is_missing, two_decimals
from ft_tf.report.tidy import Study

_NAMES = tuple(TOLERANCES)
_WORDS = (REPLICATED, NOT_REPLICATED, NOT_ATTEMPTED)


def _slashed(*values: float) -> str:
    return NOTHING if is_missing(values[0]) else " / ".join(map(two_decimals, values))


def _allowed(difference: float, allowed: float) -> str:
    return NOTHING if is_missing(difference) else f"{difference:+.2f} of {allowed:.2f}"


class Agreement(Exhibit):
    """A line per row of Tables 3 to 8: the nearest of our variants, in points."""

    name, order = "agreement", 4
    title = "Agreement with the rows of the paper's tables"
    columns = (
        Column("label", "row", format=text),
        *(Column(f"{n}_paper", n, "paper", two_decimals, int(n == "train")) for n in _NAMES),
        *(Column(n, n, "ours", two_decimals, int(n == "train")) for n in _NAMES),
        *(Column((f"{name}_difference", f"{name}_allowed"), name, "difference of allowed", _allowed,
                 2) for name in _NAMES),
        Column("trainings", "n", format=count),
        Column("variants", "variants", "", count, 3),
        Column("word", "", format=text, is_word=True),
    )  # fmt: skip
    details = (Column("cause", "known cause", format=text),)

    def frame(self, study: Study) -> pd.DataFrame:
        frame = study.computed(effects.agreement)
        rows = [paper.row(row) for row in frame["row"]]
        causes = pd.Series([known_cause(row) for row in rows], dtype=object)
        return frame.assign(
            label=[f"{paper.EXHIBITS[row.exhibit].title}: {row.label}" for row in rows],
            cause=causes.where(frame["word"] == NOT_REPLICATED, ""),
        )


def known_cause(row: paper.PaperRow) -> str:
    """Returns what is known of the cause of a disagreement in a row, from known_causes.csv.

    >>> known_cause(paper.row("table_3/circles_mlp/natural")).split(",")[0]
    "the paper's is a single run on 30 training and 70 test points"
    """
    for line in paper.read_csv("known_causes.csv"):
        if line["exhibit"] in ("", row.exhibit) and line["algorithm"] in ("", row.algorithm):
            return line["cause"]
    return "not known"


class AgreementByData(Exhibit):
    """A line per data set: rows by word, mean absolute error in points, and correlation."""

    name, order, opens = "agreement_by_data", 3, True
    title = "The rows of the paper's tables; errors and correlations of train / test / gap"
    columns = (
        Column("data", "data", format=text),
        Column(REPLICATED, REPLICATED, format=count),
        Column(NOT_REPLICATED, NOT_REPLICATED, format=count),
        Column(NOT_ATTEMPTED, "not run", format=count),
        Column(tuple(f"{name}_mean_absolute_error" for name in _NAMES), "mean error", "", _slashed,
               2),
        Column(tuple(f"{name}_correlation" for name in _NAMES), "correlation", "", _slashed, 3),
    )  # fmt: skip
    details = ()

    def frame(self, study: Study) -> pd.DataFrame:
        rows = study.computed(effects.agreement)
        words = rows.groupby(["dataset", "word"], sort=False).size()
        frame = words.unstack(fill_value=0).reindex(columns=_WORDS, fill_value=0)
        found = effects.agreement_by_data(rows)
        for measure in ("mean_absolute_error", "correlation"):
            wide = found.pivot(index="dataset", columns="value", values=measure)
            frame = frame.join(wide.reindex(columns=_NAMES).add_suffix(f"_{measure}"))
        frame = frame.rename_axis(columns=None).reset_index()
        return frame.assign(data=frame["dataset"].map(display_names.DATASETS))


register(Agreement())
register(AgreementByData())
