"""Accuracy under attack, per group of runs and attack."""

from collections.abc import Iterable
from typing import Any

from ft_tf.report.exhibits import Column, Exhibit, register
from ft_tf.report.replicates import band, mean_of
from ft_tf.report.table import count, interval, is_missing, percent, radius, text
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
        Column("epsilon", "radius", format=radius),
        Column("steps", "steps", "", count, 2),
        Column("images", "images", "", count, 3),
        Column("clean_accuracy", "clean", "accuracy"),
        Column("robust_accuracy", "attacked", "accuracy"),
        Column(("train_clean_accuracy", "clean_accuracy"), "natural", "gap", _difference, 2),
        Column("robust_generalization_error", "robust", "gap", priority=2),
        Column(("robust_low", "robust_high"), "of attacked", "95% interval", interval, 1),
        Column("replicates", "n", format=count),
    )
    details = (
        *Exhibit.details,
        Column("band", "interval over", format=text),
        Column("warnings", "WARNING", format=text),
    )

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        worst = study.attacks.sort_values("robust_accuracy", kind="stable")
        worst = worst.drop_duplicates(["record", *_KIND]).sort_index(kind="stable")
        for group, kind, entries in study.each(worst, *_KIND):
            first, robust = entries.iloc[0], entries["robust_accuracy"].tolist()
            found = band(robust, (first["robust_low"], first["robust_high"]), single_unit="images")
            means = {name: mean_of(entries[name].dropna()) for name in _ACCURACIES}
            yield {
                **group.cells,
                "replicates": len(entries),
                **dict(zip(_KIND, kind, strict=True)),
                **{name: means[name] for name in _ACCURACIES[:2]},
                "robust_low": found["low"],
                "robust_high": found["high"],
                "band": found["band"],
                **{name: means[name] for name in _ACCURACIES[2:]},
                "warnings": "; ".join(entries["warnings"].explode().dropna().unique()),
                "records": group.names,
            }


register(Robustness())
