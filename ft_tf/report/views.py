"""Frames as people read them: percent with two decimals, and in words what was run."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from ft_tf.report.tables import GET_CIFAR

Line = Mapping[str, Any]
NOTHING = "-"
RAN, FAILED, MISSING = "ran", "failed", "missing"


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a view.

    Attributes:
        header: its name.
        group: what it and its neighbours have in common, such as "paper".
        priority: 0 is always shown; of the others the greatest goes first where room is scarce.
        is_number: aligned to the right.
    """

    header: str
    group: str = ""
    priority: int = 0
    is_number: bool = True


@dataclasses.dataclass(frozen=True)
class View:
    """A table ready to be printed.

    Attributes:
        title: heading.
        columns: the first is the row's name.
        rows: cells as text.
        details: for each row what was run and reduced, in words; "" where there is nothing to say.
        states: for each row RAN, FAILED or MISSING.
    notes: sentences below the table.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    details: tuple[str, ...]
    states: tuple[str, ...]
    notes: tuple[str, ...] = ()


def is_missing(value: Any) -> bool:
    """Whether a cell of a frame holds nothing."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def percent(value: Any, *, signed: bool = False) -> str:
    """A fraction in percent with two decimals.

    >>> percent(0.0869), percent(-0.0012, signed=True), percent(None)
    ('8.69', '-0.12', '-')
    """
    if is_missing(value):
        return NOTHING
    return f"{100 * value:+.2f}" if signed else f"{100 * value:.2f}"


def percent_interval(low: Any, high: Any) -> str:
    """An interval of fractions in percent."""
    if is_missing(low) or is_missing(high):
        return NOTHING
    return f"[{percent(low)}, {percent(high)}]"


def figure(value: Any, digits: int = 4) -> str:
    """A number with so many significant digits.

    >>> figure(0.0123456), figure(2298765.0), figure(None)
    ('0.01235', '2.299e+06', '-')
    """
    return NOTHING if is_missing(value) else f"{value:.{digits}g}"


def count(value: Any) -> str:
    """A whole number."""
    return NOTHING if is_missing(value) else f"{int(value):,}"


def words(value: Any) -> str:
    """A text cell."""
    return "" if is_missing(value) else str(value)


_ACCURACY: tuple[tuple[Column, Callable[[Line], str]], ...] = (
    (Column("row", is_number=False), lambda line: line["paper_row"]),
    (Column("train", "paper"), lambda line: percent(line["paper_train"])),
    (Column("test", "paper"), lambda line: percent(line["paper_test"])),
    (Column("gap", "paper"), lambda line: percent(line["paper_gap"])),
    (Column("train", "ours"), lambda line: percent(line["train"])),
    (Column("test", "ours"), lambda line: percent(line["test"])),
    (Column("gap", "ours"), lambda line: percent(line["gap"])),
    (Column("train", "difference", 3), lambda line: percent(line["train_difference"], signed=True)),
    (Column("test", "difference", 3), lambda line: percent(line["test_difference"], signed=True)),
    (Column("gap", "difference"), lambda line: percent(line["gap_difference"], signed=True)),
    (
        Column("of our gap", "95% prediction", 2),
        lambda line: percent_interval(line["gap_prediction_low"], line["gap_prediction_high"]),
    ),
    (
        Column("paper in?", "", 1),
        lambda line: (
            NOTHING
            if is_missing(line["paper_gap_inside"])
            else ("yes" if line["paper_gap_inside"] else "no")
        ),
    ),
    (Column("n"), lambda line: count(line["replicates"])),
)


def accuracy(frame: pd.DataFrame, *, title: str) -> View:
    """View of `tables.accuracy_frame`."""
    return _view(
        frame,
        _ACCURACY,
        title=title,
        detail=_accuracy_detail,
        notes=(
            *_how_to_get_data(frame),
            "Percent; differences are ours minus the paper's, in points; gap is the "
            "generalization error, train minus test; n counts training seeds, or replicates for "
            "circles, and more than one give means.",
        ),
    )


def _how_to_get_data(frame: pd.DataFrame) -> tuple[str, ...]:
    is_missing_data = frame["command"].fillna("").str.contains("--download").any()
    return (GET_CIFAR,) if is_missing_data else ()


def _accuracy_detail(line: Line) -> str:
    if line["status"] == "not run":
        return f"not run; run it with: {line['command']}"
    parts = [f"ran: {line['run']}" if line["status"] == "ran" else f"FAILED: {line['run']}"]
    if words(line["variant"]):
        parts.append(f"variant: {line['variant']}")
    parts.append(f"data: {line['data']}")
    if words(line["reduced"]):
        parts.append(f"reduced: {line['reduced']}")
    if words(line["epsilon_accounting"]):
        parts.append(_epsilon_in_words(line))
    if not is_missing(line["gap_sd"]):
        deviations = " / ".join(percent(line[f"{name}_sd"]) for name in ("train", "test", "gap"))
        parts.append(f"standard deviation over {line['replication_unit']}s: {deviations}")
    if line["fitted"] is True or line["fitted"] == 1:
        parts.append("fitted to the paper's training accuracy: no agreement")
    if words(line["failures"]):
        parts.append(f"failed: {line['failures']}")
    if words(line["note"]):
        parts.append(_note(line))
    return "; ".join(parts)


def _note(line: Line) -> str:
    of_the_paper = "" if is_missing(line["paper_gap"]) else "the paper's row: "
    return f"{of_the_paper}{line['note']}"


def _epsilon_in_words(line: Line) -> str:
    if is_missing(line["epsilon"]):
        return f"own epsilon: none ({line['epsilon_accounting']})"
    tight = ""
    if not is_missing(line["epsilon_tight"]):
        tight = f"; tight {figure(line['epsilon_tight'])}"
    return (
        f"own epsilon {figure(line['epsilon'])} at delta {figure(line['delta'])} "
        f"({line['epsilon_accounting']}{tight})"
    )


_PARAMETERS: tuple[tuple[Column, Callable[[Line], str]], ...] = (
    (Column("run", is_number=False), lambda line: line["run"]),
    (Column("deviation", "paper"), lambda line: figure(line["paper_standard_deviation"])),
    (Column("deviation", "ours"), lambda line: figure(line["standard_deviation"])),
    (Column("over seeds", "spread", 2), lambda line: figure(line["standard_deviation_sd"], 2)),
    (Column("as printed", "equation 10"), lambda line: figure(line["equation_10"])),
    (Column("n"), lambda line: count(line["replicates"])),
)


def parameters(frame: pd.DataFrame) -> View:
    """View of `measures.parameter_frame` (Figure 2)."""
    return _view(
        frame,
        _PARAMETERS,
        title="Spread of the trained parameters (the paper's Figure 2)",
        detail=lambda line: _of_rows(line, line["paper_note"]),
        notes=(
            "The standard deviation of all parameters, and equation 10 as printed, which has no "
            "square inside the sum. Neither survives a rescaling of layers that changes no "
            "prediction.",
        ),
    )


def _of_rows(line: Line, note: str = "") -> str:
    parts = [words(line["data"]), f"rows: {line['rows']}", f"note: {note}" if note else ""]
    return "; ".join(filter(None, parts))


_DROPS: tuple[tuple[Column, Callable[[Line], str]], ...] = (
    (Column("run", is_number=False), lambda line: line["run"]),
    (Column("stuck at 0", is_number=False), lambda line: line["target"]),
    (Column("0%", "accuracy at faults of"), lambda line: percent(line["accuracy_at_0"])),
    (Column("10%", "accuracy at faults of", 1), lambda line: percent(line["accuracy_at_10"])),
    (Column("50%", "accuracy at faults of"), lambda line: percent(line["accuracy_at_50"])),
    (Column("90%", "accuracy at faults of"), lambda line: percent(line["accuracy_at_90"])),
    (Column("ours", "drop 50 to 90%"), lambda line: percent(line["drop_50_to_90"])),
    (Column("paper", "drop 50 to 90%"), lambda line: percent(line["paper_drop"])),
    (
        Column("of the drop", "95% interval", 2),
        lambda line: percent_interval(line["drop_low"], line["drop_high"]),
    ),
    (Column("n"), lambda line: count(line["replicates"])),
)


def drops(frame: pd.DataFrame) -> View:
    """View of `measures.drop_frame` (Figure 3)."""
    return _view(
        frame,
        _DROPS,
        title="Accuracy under faults (the paper's Figure 3)",
        detail=_drop_detail,
        notes=(
            "Percent. A drop is small as well for a model that is at chance by 50% faults: read "
            "it with its levels. The paper's two drops are printed without a data set or a "
            "fault count; they stand beside the weights rows of the same algorithm.",
        ),
    )


def _drop_detail(line: Line) -> str:
    if not line["replicates"]:
        return _of_rows(line)
    trials, images = count(line["trials"]), count(line["images"])
    return f"{_of_rows(line)}; {trials} fault sets per rate on {images} images"


_ROBUSTNESS: tuple[tuple[Column, Callable[[Line], str]], ...] = (
    (Column("run", is_number=False), lambda line: line["run"]),
    (Column("attack", is_number=False), lambda line: line["attack"]),
    (Column("norm", is_number=False), lambda line: line["distance"]),
    (Column("epsilon"), lambda line: figure(line["epsilon"])),
    (Column("steps", "", 2), lambda line: count(line["steps"])),
    (Column("images", "", 3), lambda line: count(line["images"])),
    (Column("clean", "accuracy"), lambda line: percent(line["clean_accuracy"])),
    (Column("attacked", "accuracy"), lambda line: percent(line["robust_accuracy"])),
    (
        Column("natural", "gap", 2),
        lambda line: percent(_minus(line["train_clean_accuracy"], line["clean_accuracy"])),
    ),
    (Column("robust", "gap", 2), lambda line: percent(line["robust_generalization_error"])),
    (
        Column("of attacked", "95% interval", 1),
        lambda line: percent_interval(line["robust_low"], line["robust_high"]),
    ),
    (Column("n"), lambda line: count(line["replicates"])),
)


def _minus(first: Any, second: Any) -> float | None:
    return None if is_missing(first) or is_missing(second) else first - second


def robustness(frame: pd.DataFrame) -> View:
    """View of `measures.robustness_frame`."""
    return _view(
        frame,
        _ROBUSTNESS,
        title="Accuracy under attack",
        detail=lambda line: "; ".join(
            filter(
                None,
                (
                    _of_rows(line),
                    f"interval over {line['band']}",
                    words(line["warnings"]) and f"WARNING: {line['warnings']}",
                ),
            )
        ),
        notes=(
            "Percent, on test images. An attack gives an upper bound of the true robustness. Gaps "
            "are training minus test accuracy on the attacked images.",
        ),
    )


_BOUNDS: tuple[tuple[Column, Callable[[Line], str]], ...] = (
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
    return _view(
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
        ),
    )


def _bound(value: Any) -> str:
    if is_missing(value):
        return NOTHING
    return percent(value) if value < 1 else "nothing"


_ORDERINGS: tuple[tuple[Column, Callable[[Line], str]], ...] = (
    (
        Column("smaller gap < larger gap", is_number=False),
        lambda line: f"{line['smaller_in_paper']} < {line['larger_in_paper']}",
    ),
    (Column("paper", "difference"), lambda line: percent(line["paper_difference"], signed=True)),
    (Column("ours", "difference"), lambda line: percent(line["difference"], signed=True)),
    (Column("p (Holm)"), lambda line: figure(line["p_holm"], 2)),
    (Column("verdict", is_number=False), lambda line: line["verdict"]),
)


def orderings(frame: pd.DataFrame) -> View:
    """View of `verdict.ordering_frame`."""
    return _view(
        frame,
        _ORDERINGS,
        title="The paper's orderings by gap",
        detail=lambda line: (
            f"{line['exhibit']}: {line['run_smaller']} against {line['run_larger']}; {line['test']}"
        ),
        notes=("Points. p is two-sided, corrected by Holm's method for all pairs listed here.",),
    )


def _state(line: Line) -> str:
    if words(line.get("failures")):
        return FAILED
    return MISSING if line.get("replicates") == 0 else RAN


def _view(
    frame: pd.DataFrame,
    columns: tuple[tuple[Column, Callable[[Line], str]], ...],
    *,
    title: str,
    detail: Callable[[Line], str],
    notes: tuple[str, ...],
) -> View:
    lines = frame.to_dict("records")
    return View(
        title=title,
        columns=tuple(column for column, _ in columns),
        rows=tuple(tuple(cell(line) for _, cell in columns) for line in lines),
        details=tuple(detail(line) for line in lines),
        states=tuple(_state(line) for line in lines),
        notes=notes,
    )
