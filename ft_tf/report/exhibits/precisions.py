"""Is mixed_bfloat16 as good as float32? Runs that differ in nothing else, paired by seed."""

import json
import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ft_tf.records import Run
from ft_tf.report.exhibits import Column, Exhibit, register
from ft_tf.report.groups import without_seeds
from ft_tf.report.replicates import mean_interval, why_not
from ft_tf.report.table import count, signed_plus_minus, text
from ft_tf.report.tidy import Study

MARGIN = 0.01
"""Differences of test accuracy within this count as none: one point."""
_PLAIN, _MIXED = "float32", "mixed_bfloat16"


class Precisions(Exhibit):
    """Test accuracy of mixed_bfloat16 minus that of float32."""

    name, order, title = "precisions", 88, "mixed_bfloat16 against float32"
    columns = (
        Column("run", "run", format=text),
        Column(("difference", "low", "high"), "test accuracy", "difference", signed_plus_minus),
        Column("conclusion", "within a point?", format=text),
        Column("replicates", "n", format=count),
    )

    def parts(self, study: Study) -> Sequence[Exhibit]:
        """Nothing in a study without such pairs."""
        return [self] if len(self.frame(study)) else []

    details = ()
    note = (
        "Points, mixed_bfloat16 minus float32, with the half width of the 95% interval over paired "
        "seeds; n counts the pairs."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """A line for each setting that both precisions have run, by name."""
        found: dict[str, dict[str, dict[int, Run]]] = {}
        for group in study.trained:
            for record in group.finished:
                precision = record.config.get("precision", _PLAIN)
                of_setting = found.setdefault(_setting(record), {})
                of_setting.setdefault(precision, {}).setdefault(record.config["seed"], record)
        lines = [
            _line(precisions[_PLAIN], precisions[_MIXED])
            for precisions in found.values()
            if set(precisions.get(_PLAIN, ())) & set(precisions.get(_MIXED, ()))
        ]
        return pd.DataFrame(sorted(lines, key=lambda line: line["run"]))


def _setting(record: Run) -> str:
    """What both runs of a pair share, as text."""
    config = {key: v for key, v in without_seeds(record.config).items() if key != "precision"}
    return json.dumps([config, record.data.fingerprint], sort_keys=True)


def _line(plain: dict[int, Run], mixed: dict[int, Run]) -> dict[str, Any]:
    seeds = sorted(set(plain) & set(mixed))
    differences = [mixed[seed].accuracy.test - plain[seed].accuracy.test for seed in seeds]
    interval = mean_interval(differences)
    conclusion = why_not(differences)
    if interval is not None:
        is_within = max(-interval.low, interval.high) <= MARGIN
        conclusion = "within" if is_within else "not shown to be within"
    names = [record.name for seed in seeds for record in (plain[seed], mixed[seed])]
    return {
        "run": plain[seeds[0]].name.removesuffix(f"-seed_{seeds[0]}"),
        "difference": statistics.fmean(differences),
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "conclusion": conclusion,
        "replicates": len(seeds),
        "records": " ".join(names),
    }


register(Precisions())
