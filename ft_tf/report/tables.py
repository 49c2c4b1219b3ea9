"""The accuracy tables: a line for each row of the paper and each variant of it that was run."""

import dataclasses
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ft_tf import intervals
from ft_tf.data.circles import PAPER_N_TEST
from ft_tf.records import Record
from ft_tf.report import labels, paper, privacy
from ft_tf.report.groups import (
    OTHER,
    STOPPED,
    Group,
    breakdowns_of,
    groups_by_row,
    parts_of,
    steps_of,
)
from ft_tf.report.spread import LEVEL, why_not

_OFFICIAL_TRADES_EPOCHS = 76

ACCURACY_EXHIBITS = tuple(e for e in paper.EXHIBITS if e not in ("figure_2", "figure_3"))

COLUMNS = (
    "row",
    "paper_row",
    "run",
    "variant",
    "status",
    "paper_train",
    "paper_test",
    "paper_gap",
    "train",
    "test",
    "gap",
    "train_sd",
    "test_sd",
    "gap_sd",
    "replicates",
    "replication_unit",
    "train_difference",
    "test_difference",
    "gap_difference",
    "gap_prediction_low",
    "gap_prediction_high",
    "paper_gap_inside",
    "form",
    "noise_multiplier",
    "epsilon",
    "epsilon_accounting",
    "epsilon_tight",
    "delta",
    "data",
    "deviations",
    "length",
    "breakdowns",
    "fitted",
    "smoke",
    "unjudged",
    "further_variance",
    "failures",
    "command",
    "note",
    "records",
)

GET_CIFAR = (
    "CIFAR-10 without a network: python -m experiments.prepare_data --dataset=cifar10 "
    "--from=FOLDER --data_dir=DIR turns its binary files into what --data_dir=DIR takes."
)


def accuracy_frame(records: Iterable[Record], exhibit: str) -> pd.DataFrame:
    """Paper beside ours for one exhibit.

    Accuracies, gaps and differences (ours minus the paper's) are fractions. `gap` is the mean over
    replicates, `gap_sd` their sample standard deviation, and gap_prediction_low to _high the 95%
    prediction interval of one further replicate: what a single published run is to be held
    against; on circles drawn anew it is tested on as few points as the paper's. Where the
    replicates allow none it is missing, for the reason in `unjudged`; runs of the scale "smoke"
    are not held against the paper. `epsilon` is always the run's own.

    Args:
        records: any records; those for other exhibits are ignored.
        exhibit: one of `ACCURACY_EXHIBITS`, or "other" for runs that belong to no exhibit.

    Returns:
        A frame with `COLUMNS`; status is "ran", "failed" or "not run".

    Raises:
        ArgumentError: the paper has no such exhibit.
    """
    grouped = groups_by_row(records)
    rows = () if exhibit == OTHER else paper.rows(exhibit)
    several = _run_as_several(grouped, exhibit)
    lines: list[dict[str, Any]] = []
    for row in rows:
        groups = find_groups(grouped, row)
        lines += _lines(row, groups, several) if groups else [_not_run(row)]
    known = {row.id for row in rows}
    for row_id, groups in grouped.items():
        if row_id.split("/")[0] == exhibit and row_id not in known:
            lines += _lines(None, groups, several)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def find_groups(grouped: Mapping[str, Sequence[Group]], row: paper.PaperRow) -> list[Group]:
    """Groups for a row; the figures, whose runs are those of the tables, look there as well."""
    groups = list(grouped.get(row.id, ()))
    if groups or not row.exhibit.startswith("figure"):
        return groups
    seen: set[str] = set()
    for candidate in paper.all_rows():
        if candidate.exhibit.startswith("table") and _is_same_run(candidate, row):
            for group in grouped.get(candidate.id, ()):
                if group.key not in seen:
                    seen.add(group.key)
                    groups.append(group)
    return groups


def _is_same_run(table_row: paper.PaperRow, figure_row: paper.PaperRow) -> bool:
    if table_row.algorithm != figure_row.algorithm or table_row.dataset == "circles":
        return False
    if figure_row.dataset and table_row.dataset != figure_row.dataset:
        return False
    if figure_row.architecture and table_row.architecture != figure_row.architecture:
        return False
    if figure_row.measure is not None:
        return table_row.exhibit != "table_6" or table_row.value == "8/255"
    return table_row.value == figure_row.value


def command_for(row: paper.PaperRow) -> str:
    """The command that runs a row, and gets its data where no sample is embedded."""
    number = row.exhibit.removeprefix("table_") if row.exhibit.startswith("table") else "4"
    command = f"python -m experiments.reproduce --tables={number}"
    return command + (" --data_dir=DIR --download" if row.dataset == "cifar10" else "")


def _paper_part(row: paper.PaperRow | None) -> dict[str, Any]:
    if row is None:
        return {}
    return {
        "row": row.id,
        "paper_row": labels.of_paper_row(row),
        "paper_train": row.train_accuracy,
        "paper_test": row.test_accuracy,
        "paper_gap": row.generalization_error,
        "note": row.note,
    }


def _not_run(row: paper.PaperRow) -> dict[str, Any]:
    return {**_paper_part(row), "status": "not run", "replicates": 0, "command": command_for(row)}


def _run_as_several(grouped: Mapping[str, Sequence[Group]], exhibit: str) -> set[str]:
    """The nets of an exhibit's rows ("fmnist_cnn") that were run as more than one architecture."""
    used: dict[str, set[str]] = {}
    for row_id, groups in grouped.items():
        of_exhibit, net, *_ = parts_of(row_id)
        if of_exhibit == exhibit:
            used.setdefault(net, set()).update(
                group.config.get("architecture", "") for group in groups
            )
    return {net for net, architectures in used.items() if len(architectures) > 1}


def _lines(
    row: paper.PaperRow | None, groups: Sequence[Group], several: Collection[str]
) -> list[dict[str, Any]]:
    named = ("architecture",) if parts_of(groups[0].row)[1] in several else ()
    return [
        {
            **(_paper_part(row) or _own_part(group)),
            **_run_part(group),
            "variant": variant,
            **(_result_part(row, group) if group.finished else {"replicates": 0}),
        }
        for group, variant in zip(groups, labels.variants(groups, named=named), strict=True)
    ]


def _own_part(group: Group) -> dict[str, Any]:
    return {
        "row": group.row,
        "paper_row": labels.of_row_id(group.row),
        "note": "not in the paper",
    }


def _run_part(group: Group) -> dict[str, Any]:
    epsilon = privacy.of_group(group)
    return {
        "run": labels.of_run(group),
        "status": "ran" if group.finished else "failed",
        "data": data_of(group),
        "form": group.any_record.get("form", ""),
        "deviations": "; ".join(
            dict.fromkeys(text for record in group.records for text in record["deviations"])
        ),
        "length": _length(group),
        "breakdowns": breakdowns_of(group),
        "fitted": group.is_fitted,
        "smoke": group.is_smoke,
        "failures": failures_of(group),
        "records": group.names,
        **({} if epsilon is None else dataclasses.asdict(epsilon)),
    }


def _length(group: Group) -> str:
    """How long a training was that stopped early, or on CIFAR-10; "" elsewhere."""
    config = group.config
    if parts_of(group.row)[2] == STOPPED and steps_of(group):
        return f"{steps_of(group)} steps"
    if config.get("dataset") != "cifar10":
        return ""
    is_trades = config["algorithm"]["name"] == "trades"
    official = f" (its authors' script: {_OFFICIAL_TRADES_EPOCHS})" if is_trades else ""
    return f"{config['epochs']} epochs{official}"


def _result_part(row: paper.PaperRow | None, group: Group) -> dict[str, Any]:
    samples = group.samples
    part: dict[str, Any] = {"replicates": len(samples), "replication_unit": samples.unit}
    for name in ("train", "test", "gap"):
        values = getattr(samples, name)
        part[name] = statistics.fmean(values)
        part[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else None
    part["unjudged"] = why_not(samples.gap)
    if not part["unjudged"]:
        part["further_variance"] = _of_fewer_test_points(group)
        interval = intervals.prediction(
            samples.gap,
            level=LEVEL,
            unit=samples.unit,
            further_variance=part["further_variance"],
        )
        part |= {"gap_prediction_low": interval.low, "gap_prediction_high": interval.high}
    if row is not None:
        printed = (row.train_accuracy, row.test_accuracy, row.generalization_error)
        for name, value in zip(("train", "test", "gap"), printed, strict=True):
            part[f"{name}_difference"] = None if value is None else part[name] - value
        is_judged = not part["unjudged"] and not group.is_smoke
        if is_judged and row.generalization_error is not None:
            part["paper_gap_inside"] = interval.low <= row.generalization_error <= interval.high
    return part


def _of_fewer_test_points(group: Group) -> float:
    """Variance that the paper's test accuracy on circles has, and ours on points drawn anew not.

    Its accuracy p on n points is binomial, p (1 - p) / n; ours are measured on so many that their
    own part is next to nothing. On the paper's own points both are tested on the same ones.
    """
    if group.any_record.get("form") != "redrawn_data":
        return 0.0
    tests = group.samples.test
    ours = group.any_record["data"].get("test_examples") or PAPER_N_TEST
    scale = max(0.0, 1 / PAPER_N_TEST - 1 / ours)
    return scale * statistics.fmean(p * (1 - p) for p in tests)


def data_of(group: Group) -> str:
    """The data source of a group, with its size, so that a sample is never taken for the set.

    What the data set has to say of itself (lossy pixels, say) stands beside it at every result.
    """
    data = group.any_record["data"]
    size = data.get("train_examples")
    counted = f", {size:,} training {_item(group)}" if isinstance(size, int) else ""
    remarks = f" ({'; '.join(data['notes'])})" if data.get("notes") else ""
    return f"{data.get('source') or data.get('name') or 'unknown source'}{counted}{remarks}"


def _item(group: Group) -> str:
    return "points" if group.any_record["kind"] == "circles" else "images"


def failures_of(group: Group) -> str:
    """Each failed run with where and why it stopped; "" where none failed."""
    return "; ".join(
        f"seed {record['config'].get('seed')}: {failure_of(record)}" for record in group.failed
    )


def failure_of(record: Record) -> str:
    """Why and where a failed run stopped."""
    failure = record["failure"] or {}
    where = ", ".join(
        f"{unit} {failure[unit]}" for unit in ("epoch", "step") if failure.get(unit) is not None
    )
    reason = failure.get("reason") or "no reason on record"
    return f"{reason} ({where})" if where else reason
