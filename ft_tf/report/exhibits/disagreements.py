"""The rows of the paper's tables whose generalization error our runs miss by most."""

import csv
import importlib.resources
from typing import Any

import pandas as pd

from ft_tf.report import paper
from ft_tf.report.display_names import CLIP_ONLY, NOISE_ONLY, PRIVATE, TRADES, parts_of
from ft_tf.report.exhibits import Column, Exhibit, register
from ft_tf.report.exhibits.accuracy import PREDICTION, accuracy_frame
from ft_tf.report.table import count, interval, percent, points, text
from ft_tf.report.tidy import Study

LARGEST = 5
_COLUMNS = (
    "row", "paper_row", "variant", "run", "paper_generalization_error", "generalization_error",
    "generalization_error_difference", "train_difference", "test_difference",
    *PREDICTION, "replicates",
    "deviations", "fitted", "tried", "cause", "records",
)  # fmt: skip


def known_cause(row: str) -> str:
    """Returns what is known of the cause of a disagreement in a row, from known_causes.csv.

    >>> known_cause("table_3/circles_mlp/natural").split(",")[0]
    "the paper's is a single run on 30 training and 70 test points"
    """
    exhibit, _, algorithm, _ = parts_of(row)
    source = importlib.resources.files("ft_tf.report") / "known_causes.csv"
    for line in csv.DictReader(source.read_text(encoding="utf-8").splitlines()):
        if line["exhibit"] in ("", exhibit) and line["algorithm"] in ("", algorithm):
            return line["cause"]
    return "not known"


def _name(row: str, paper_row: str, variant: str) -> str:
    table = paper.EXHIBITS[parts_of(row)[0]].title
    return ", ".join(filter(None, (f"{table}: {paper_row}", text(variant))))


class Disagreements(Exhibit):
    """The rows with the largest differences of the generalization error."""

    name, order, is_long = "disagreements", 5, False
    title = "The largest disagreements with the paper"
    columns = (
        Column(("row", "paper_row", "variant"), "row", "", _name, is_text=True),
        Column("paper_generalization_error", "paper", "gap"),
        Column("generalization_error", "ours", "gap"),
        Column("generalization_error_difference", "gap", "difference", points),
        Column("train_difference", "train", "difference", points, 1),
        Column("test_difference", "test", "difference", points, 1),
        Column(PREDICTION, "95% prediction", "", interval, 1),
        Column("replicates", "n", format=count),
    )
    details = (
        Column("tried", "tried", format=text),
        Column("cause", "known cause", format=text),
        Column("deviations", "unlike our preset at paper scale", format=text),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """The `LARGEST` ones.

        Of a row with several variants the one that comes nearest counts: the paper is wrong or
        underspecified only where none of ours agrees. `tried` lists all of them, fitted ones too,
        which agree with nothing. Runs of the scale "smoke" are left out.
        """
        lines: dict[tuple[str, str, float], dict[str, Any]] = {}
        for exhibit in paper.TABLES:
            frame = accuracy_frame(study, exhibit)
            frame = frame[~frame["smoke"].eq(True)]
            ran = frame["generalization_error_difference"].notna() & ~frame["fitted"].eq(True)
            for row, variants in frame[ran].groupby("row", sort=False):
                distance = variants["generalization_error_difference"].abs().astype(float)
                nearest = variants.loc[distance.idxmin()].to_dict()
                printed = float(nearest["paper_generalization_error"])
                nearest |= {
                    "tried": _tried(str(row), printed, frame),
                    "cause": known_cause(str(row)),
                }
                # Tables 4 and 6 share a row, printed twice: one run of ours, one disagreement.
                lines.setdefault((nearest["records"], nearest["run"], printed), nearest)
        largest = sorted(
            lines.values(), key=lambda line: -abs(line["generalization_error_difference"])
        )
        return pd.DataFrame(largest[:LARGEST], columns=list(_COLUMNS))


def _tried(row: str, printed: float, frame: pd.DataFrame) -> str:
    """Every variant of the row, and the ablations that bear on its gap."""
    bears = frame["row"].map(lambda other: _bears_on(row, other)).astype(bool)
    ran = frame[(frame["status"] == "ran") & bears]
    return "; ".join(
        f"{line['run']}: {percent(line['generalization_error'] - printed, signed=True)} points "
        f"(n={line['replicates']})"
        for line in ran.to_dict("records")
    )


def _bears_on(row: str, other: str) -> bool:
    exhibit, architecture, algorithm, value = parts_of(row)
    if row == other:
        return True
    if parts_of(other)[:2] != (exhibit, architecture):
        return False
    related = {
        TRADES: ("trades_normalized_example",),
        PRIVATE: (CLIP_ONLY, f"{NOISE_ONLY}/{value}"),
    }
    return other.split("/", maxsplit=2)[2] in related.get(algorithm, ())


register(Disagreements())
