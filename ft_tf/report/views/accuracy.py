"""The accuracy tables, the paper's numbers beside ours."""

import pandas as pd

from ft_tf.data.circles import PAPER_N_TEST
from ft_tf.report import labels
from ft_tf.report.groups import SMOKE
from ft_tf.report.spread import EQUAL, LEAST
from ft_tf.report.tables import GET_CIFAR
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
    words,
)

_ACCURACY: Cells = (
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
    return make_view(
        frame,
        _ACCURACY,
        title=title,
        detail=_accuracy_detail,
        notes=(
            *_how_to_get_data(frame),
            "Percent; differences are ours minus the paper's, in points; gap is the "
            "generalization error, train minus test; n counts training seeds, or replicates for "
            f"circles, and more than one give means. A prediction takes {LEAST} or more that are "
            "not all equal.",
            *_fewer_points(frame),
        ),
    )


_BRIEF: Cells = (
    (Column("row", is_number=False), lambda line: line["paper_row"]),
    (Column("gap", "paper"), lambda line: percent(line["paper_gap"])),
    (Column("train", "ours"), lambda line: percent(line["train"])),
    (Column("test", "ours"), lambda line: percent(line["test"])),
    (Column("gap", "ours"), lambda line: percent(line["gap"])),
    (Column("difference", ""), lambda line: percent(line["gap_difference"], signed=True)),
    (
        Column("95% prediction", ""),
        lambda line: percent_interval(line["gap_prediction_low"], line["gap_prediction_high"]),
    ),
    (Column("n"), lambda line: count(line["replicates"])),
    (Column("remarks", is_number=False), lambda line: _remarks(line)),
)


def accuracy_brief(frame: pd.DataFrame, *, title: str) -> View:
    """View of the lines of `tables.accuracy_frame` that ran, short enough for the README."""
    frame = frame[frame["status"] == "ran"]
    has_epsilon, has_fitted = frame["epsilon"].notna().any(), frame["fitted"].eq(True).any()
    return make_view(
        frame,
        _BRIEF,
        title=title,
        detail=lambda line: "",
        notes=(
            "Percent; differences are ours minus the paper's, in points.",
            *_fewer_points(frame),
            *([_OWN_EPSILON] if has_epsilon else []),
            *([_FITTED] if has_fitted else []),
        ),
    )


_OWN_EPSILON = (
    "Own epsilon: that of our run, by the paper's accountant (were its batches shuffled ones, the "
    "unamplified epsilon)."
)
_FITTED = (
    "Fitted: a setting was chosen so that the training accuracy comes near the paper's; it counts "
    "as no agreement."
)


def _remarks(line: Line) -> str:
    parts = [words(line[name]) for name in ("variant", "length", "breakdowns")]
    if not is_missing(line["epsilon"]):
        parts.append(f"own epsilon {figure(line['epsilon'])}")
    parts += ["fitted"] if line["fitted"] is True or line["fitted"] == 1 else []
    parts += ["scale smoke"] if line["smoke"] == 1 else []
    parts += [f"no prediction: {EQUAL}"] if line["unjudged"] == EQUAL else []
    parts.append(labels.deviations(words(line["deviations"])))
    return "; ".join(filter(None, parts))


def _fewer_points(frame: pd.DataFrame) -> tuple[str, ...]:
    """Says where the prediction is wider than the spread over replicates."""
    if not (frame["further_variance"] > 0).any():
        return ()
    return (
        f"Points drawn anew: the paper tests on {PAPER_N_TEST} points and these replicates on far "
        "more, so that the prediction is wider than their spread, by the variance of an accuracy "
        f"on {PAPER_N_TEST} points.",
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
    parts += [words(line["breakdowns"]), f"data: {line['data']}"]
    parts.append(labels.deviations(words(line["deviations"])))
    if words(line["epsilon_accounting"]):
        parts.append(_epsilon_in_words(line))
    if not is_missing(line["gap_sd"]):
        deviations = " / ".join(percent(line[f"{name}_sd"]) for name in ("train", "test", "gap"))
        parts.append(f"standard deviation over {line['replication_unit']}s: {deviations}")
    if line["fitted"] is True or line["fitted"] == 1:
        parts.append("fitted to the paper's training accuracy: no agreement")
    if line["smoke"] == 1:
        parts.append(f"not counted: {SMOKE}")
    if line["unjudged"] == EQUAL:
        parts.append(f"no prediction: {EQUAL}")
    if words(line["failures"]):
        parts.append(f"failed: {line['failures']}")
    if words(line["note"]):
        parts.append(_note(line))
    return "; ".join(filter(None, parts))


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
