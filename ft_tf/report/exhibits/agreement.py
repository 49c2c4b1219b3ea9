"""Which rows of the paper's tables our runs replicate (experiments/RULE.md), and by data set."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import intervals
from ft_tf.effects.runs import circles, is_of_tables, trained
from ft_tf.records import Record
from ft_tf.report import display_names, paper, rendering
from ft_tf.report.exhibits import Column, Exhibit, count, register, text
from ft_tf.report.table import NOTHING, is_missing, two_decimals
from ft_tf.report.tidy import Study

WORDS = REPLICATED, NOT_REPLICATED, NOT_ATTEMPTED = "replicated", "not replicated", "not attempted"
TOLERANCES = {"train": 2.0, "test": 2.0, "gap": 1.0}
"""Differences in points that count as agreement whatever the prediction interval."""
LEAST = 3
"""Trainings that a prediction interval takes."""
_PRINTED = {"train": "train", "test": "test", "gap": "generalization_error"}
_NAMES = tuple(TOLERANCES)
_Variant = tuple[dict[str, Sequence[float]], list[str], bool]
COLUMNS = (
    "row", "exhibit", "dataset", "word", "presets_word",
    *(f"{name}{part}" for name in _NAMES for part in ("_paper", "", "_difference", "_allowed")),
    "trainings", "variants", "records",
)  # fmt: skip


def agreement(records: Iterable[Record]) -> pd.DataFrame:
    """A line per row of the paper's tables: replicated, not replicated, or not attempted.

    All three of training accuracy, test accuracy and gap must lie within `*_allowed` of the
    paper's: the half-width of our prediction interval for one more training, or the tolerance,
    whichever is larger. Of several variants of a row the nearest is shown; `presets_word` is the
    word without the variants that later plans added.
    """
    variants = _variants(list(records))
    lines = []
    for row in (row for table in paper.TABLES for row in paper.rows(table)):
        printed = {name: 100 * getattr(row, field) for name, field in _PRINTED.items()}
        found = [_compared(printed, *variant[:2]) for variant in variants[row.id]]
        of_presets = [cells for cells, v in zip(found, variants[row.id], strict=True) if v[2]]
        nearest = min(found, key=_farthest, default={"trainings": 0, "records": ""})
        line = {"row": row.id, "exhibit": row.exhibit, "dataset": row.dataset}
        line |= {"word": _word(found), "presets_word": _word(of_presets)}
        line |= {f"{name}_paper": value for name, value in printed.items()}
        lines.append({**line, **nearest, "variants": len(found)})
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _compared(
    printed: dict[str, float], values: dict[str, Sequence[float]], names: list[str]
) -> dict[str, Any]:
    """Our means of one variant, their differences from the paper's, and how large those may be."""
    cells: dict[str, Any] = {"trainings": len(values["gap"]), "records": " ".join(names)}
    for name, mine in values.items():
        cells[name] = statistics.fmean(mine)
        cells[f"{name}_difference"] = cells[name] - printed[name]
        enough = len(mine) >= LEAST
        half = intervals.prediction(mine, unit="training").half_width if enough else 0.0
        cells[f"{name}_allowed"] = max(half, TOLERANCES[name])
    return cells


def _word(variants: Sequence[dict[str, Any]]) -> str:
    if not variants:
        return NOT_ATTEMPTED
    return REPLICATED if min(map(_farthest, variants)) <= 1 else NOT_REPLICATED


def by_word(rows: pd.DataFrame) -> pd.DataFrame:
    """Numbers of the rows of `agreement` by data set and word."""
    found = rows.groupby(["dataset", "word"], sort=False).size().unstack(fill_value=0)
    return found.reindex(columns=list(WORDS), fill_value=0)


def _farthest(cells: dict[str, Any]) -> float:
    """Largest difference, as a share of what is allowed."""
    return max(abs(cells[f"{n}_difference"]) / cells[f"{n}_allowed"] for n in TOLERANCES)


def _variants(records: Sequence[Record]) -> dict[str, list[_Variant]]:
    """Settings that were run for each row: values in points, records, whether of the presets."""
    settings = defaultdict(list)
    for run in trained(records):
        for row in run.record.rows if run.counts else ():
            settings[row, run.network, run.setting].append(run)
    found = defaultdict(list)
    for (row, *_), runs in sorted(settings.items(), key=lambda item: item[0]):
        values = {name: [getattr(run, name) for run in runs] for name in TOLERANCES}
        found[row].append((values, [run.record.name for run in runs], any(map(is_of_tables, runs))))
    for record in circles(records):
        if record.form == "fixed_data":
            for row, result in record.results.items():
                train, test = 100 * np.array(result.train), 100 * np.array(result.test)
                values = {"train": train, "test": test, "gap": train - test}
                found[row].append((values, [record.name], True))
    return found


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
    details = (
        Column("setting", "ours", format=text),
        Column("cause", "possible cause", format=text),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        frame = study.computed(agreement)
        settings = {name: group.run for group in study.trained for name in group.names.split()}
        rows = [paper.row(row) for row in frame["row"]]
        causes = pd.Series([known_cause(row) for row in rows], dtype=object)
        return frame.assign(
            setting=[settings.get(names.split(" ")[0], "") for names in frame["records"]],
            label=[f"{paper.EXHIBITS[row.exhibit].title}: {row.label}" for row in rows],
            cause=causes.where(frame["word"] == NOT_REPLICATED, ""),
        )

    def notes(self, frame: pd.DataFrame) -> list[str]:
        of_presets = int(frame["presets_word"].eq(REPLICATED).sum())
        return rendering.notes(self.name, frame=frame, of_presets=of_presets)


def known_cause(row: paper.PaperRow) -> str:
    """Returns what may have caused a disagreement in a row, from known_causes.csv.

    >>> known_cause(paper.row("table_3/circles_mlp/natural")).split(",")[0]
    "the paper's is a single run on 30 training and 70 test points"
    """
    for line in paper.read_csv("known_causes.csv"):
        if line["exhibit"] in ("", row.exhibit) and line["algorithm"] in ("", row.algorithm):
            return line["cause"]
    return "not known"


class AgreementByData(Exhibit):
    """A line per data set: rows by word, mean absolute error in points, and correlation."""

    name, order = "agreement_by_data", 3
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

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        found = study.computed(agreement)
        for dataset, words in by_word(found).iterrows():
            rows = found[found["dataset"].eq(dataset) & found["word"].ne(NOT_ATTEMPTED)]
            errors, correlations = {}, {}
            for name in _NAMES:
                printed, ours = rows[f"{name}_paper"].astype(float), rows[name].astype(float)
                varies = len(rows) > 2 and printed.nunique() > 1 and ours.nunique() > 1
                errors[f"{name}_mean_absolute_error"] = (ours - printed).abs().mean()
                correlations[f"{name}_correlation"] = printed.corr(ours) if varies else math.nan
            data = display_names.DATASETS[dataset]
            yield {"dataset": dataset, **words, **errors, **correlations, "data": data}


register(Agreement())
register(AgreementByData())
