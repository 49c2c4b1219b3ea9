"""Accuracy under attack, per group of runs and attack."""

from collections.abc import Sequence

import pandas as pd

from ft_tf.report.exhibits import Column, Exhibit, count, register, text
from ft_tf.report.replicates import band, mean_of
from ft_tf.report.table import Line, interval, is_missing, number, percent
from ft_tf.report.tidy import Study

_KIND = ("attack", "distance", "epsilon", "steps", "images")
_ACCURACIES = (
    "clean_accuracy", "robust_accuracy", "train_clean_accuracy", "train_robust_accuracy",
    "robust_generalization_error",
)  # fmt: skip


def _difference(first: object, second: object) -> str:
    return percent(None if is_missing(first) or is_missing(second) else first - second)


class Robustness(Exhibit):
    """A line per group and kind of attack, with the attack's warnings."""

    name, order, title = "robustness", 40, "Accuracy under attack"
    columns = (
        Column("run", "run", format=text),
        Column("attack", "attack", format=text),
        Column("distance", "norm", format=text),
        Column("epsilon", "epsilon", format=number),
        Column("steps", "steps", "", count, 2),
        Column("images", "images", "", count, 3),
        Column("clean_accuracy", "clean", "accuracy"),
        Column("robust_accuracy", "attacked", "accuracy"),
        Column(("train_clean_accuracy", "clean_accuracy"), "natural", "gap", _difference, 2),
        Column("robust_generalization_error", "robust", "gap", priority=2),
        Column(("robust_low", "robust_high"), "of attacked", "95% interval", interval, 1),
        Column("replicates", "n", format=count),
    )

    def notes(self, study: Study) -> Sequence[str]:
        """Meaning of the columns."""
        return (
            "Percent, on test images. An attack gives an upper bound of the true robustness. Gaps "
            "are training minus test accuracy on the attacked images.",
        )

    def detail(self, line: Line) -> str:
        """Data, rows, what the interval is over, warnings."""
        warning = text(line["warnings"]) and f"WARNING: {line['warnings']}"
        parts = (line["data"], f"rows: {line['rows']}", f"interval over {line['band']}", warning)
        return "; ".join(filter(None, parts))

    def frame(self, study: Study) -> pd.DataFrame:
        """Means over seeds; of an attack that a run repeated the one that did more harm."""
        worst = study.attacks.sort_values("robust_accuracy", kind="stable")
        worst = worst.drop_duplicates(["record", *_KIND]).sort_index(kind="stable")
        lines = []
        for group, kind, entries in study.each(worst, *_KIND):
            first, robust = entries.iloc[0], entries["robust_accuracy"].tolist()
            found = band(robust, (first["robust_low"], first["robust_high"]), single_unit="images")
            means = {name: mean_of(_present(entries[name])) for name in _ACCURACIES}
            lines.append(
                {
                    **group.cells,
                    "replicates": len(entries),
                    **dict(zip(_KIND, kind, strict=True)),
                    **{name: means[name] for name in _ACCURACIES[:2]},
                    "robust_low": found["low"],
                    "robust_high": found["high"],
                    "band": found["band"],
                    **{name: means[name] for name in _ACCURACIES[2:]},
                    "warnings": join_warnings(entries),
                    "records": group.names,
                }
            )
        return pd.DataFrame(lines)


def _present(values: pd.Series) -> list[float]:
    return values.dropna().tolist()


def join_warnings(attacks: pd.DataFrame) -> str:
    """Returns the warnings of attacks, each once."""
    return "; ".join(dict.fromkeys(text for texts in attacks["warnings"] for text in texts))


register(Robustness())
