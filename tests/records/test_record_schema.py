"""The schema: every committed record comes back as it is, and no broken one comes through."""

import copy
import dataclasses
import json
import math
import random
from pathlib import Path
from typing import Annotated

import pytest
from example_records import ATTACK, CAMPAIGN, CIRCLES, LAYER, ROW, RUN
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_tf import privacy, records
from ft_tf.errors import RunError
from ft_tf.privacy.tradeoff import ATTACK_FIGURES
from ft_tf.records.rules import Range

RESULTS = Path(__file__).parent.parent.parent / "experiments" / "results"
COMMITTED = sorted(RESULTS.glob("*/record.json"))
WHERE = "place/record.json"


def read(document):
    return records.from_dict(document, where=WHERE)


def error_of(document):
    with pytest.raises(RunError) as caught:
        read(document)
    (line,) = str(caught.value).splitlines()
    line.encode()  # it can be printed
    assert line.startswith(WHERE)
    return line.removeprefix(f"{WHERE} is no valid record: ")


DROP = object()


def changed(path, value, document=RUN):
    """A copy of the document with another value at a path such as "faults.weights.mean.1"."""
    found = part = copy.deepcopy(document)
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in steps:
        part = part[step]
    if value is DROP:
        del part[last]
    else:
        part[last] = value
    return found


def test_committed_records_come_back_to_the_byte():
    assert len(COMMITTED) > 100
    for path in COMMITTED:
        text = path.read_text()
        record = records.from_dict(json.loads(text), where=str(path))
        assert records.to_dict(record) == json.loads(text)
        assert records.dumps(record) == text


def test_a_record_is_read_by_attributes_with_tuples_for_lists():
    record = read(RUN)
    assert record.accuracy.generalization_error == 0.25
    assert record.faults["weights"].mean == (0.75, 0.5)
    assert record.faults["weights"].lost.high == (0.0, 0.35)
    assert record.robustness[0].parameters["distance"] == "l_inf"
    assert record.history["loss"] == (2.0, None)
    assert record.config["algorithm"] == {"name": "natural"}
    assert read(CIRCLES).results[ROW].train == (1.0, 0.9)
    assert read(changed("faults.weights.faults", [0, 10])) == record


def test_what_the_accountant_states_fits_the_schema():
    for sampling, sigma in (("poisson", 1.1), ("shuffle", 1.1), ("poisson", 0.0)):
        cost = privacy.privacy_cost(
            noise_multiplier=sigma, sampling_probability=0.1, steps=10, delta=1e-5
        )
        stated = privacy.to_record(cost, sampling=sampling)
        found = records.to_dict(read({**RUN, "privacy": stated}))
        # Values that older records lack are left out where they are None.
        assert stated == dict.fromkeys(ATTACK_FIGURES) | found["privacy"]
        assert found == {**RUN, "privacy": found["privacy"]}


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        # What downstream code read wrongly, or died of, before it was checked.
        ("config", {}, "config.dataset is missing"),
        ("rows", [3], "rows[0]=3 must be a string"),
        ("parameters.bin_edges.0", "x", "parameters.bin_edges[0]='x' must be a number"),
        ("name", "a\ud800", "name='a\\ud800' holds half of a surrogate pair"),
        ("config.own", nested(200_000), "config.own" + 17 * "[0]" + " is nested more than 16"),
        ("config.own", math.nan, "config.own=nan must be finite"),
        ("config.own", {"\udcff": 1}, "config.own['\\udcff']='\\udcff' holds half of"),
        ("config.own", 10**400, "config.own must have at most 128 bits"),
        ("training.steps", 10**400, "training.steps must have at most 128 bits"),
        ("accuracy.train", 10**400, "accuracy.train must have at most 128 bits"),
        ("rows", ["mine", "table_5"], "rows[1]='table_5' must be TABLE/NETWORK/ALGORITHM, such as"),
        ("rows", ["table_5/fmnist_dnn/"], "rows[0]='table_5/fmnist_dnn/' must be TABLE/NETWORK"),
        (
            "config.algorithm",
            {"name": "trades", "beta": 1.0},
            "config.algorithm.epsilon is missing",
        ),
        (
            "config.algorithm",
            {"name": "trades", "epsilon": "x", "beta": 1.0},
            "config.algorithm.epsilon='x' must be a number",
        ),
        (
            "config.algorithm",
            {"name": "trades", "epsilon": 0.1},
            "config.algorithm.beta is missing",
        ),
        (
            "config.algorithm",
            {"name": "dpsgd", "l2_norm_clip": 1.0},
            "config.algorithm.noise_multiplier is missing",
        ),
        ("config.learning_rate_drops", [[3, "x"]], "config.learning_rate_drops[0][1]='x' must be"),
        ("config.weight_decay", "x", "config.weight_decay='x' must be a number"),
        ("config.train_limit", [1], "config.train_limit=[1] must be an integer"),
        # Names that are paths, or cannot be made.
        ("name", "", "name='' must be usable as the name of a directory"),
        ("name", "..", "name='..' must be usable"),
        ("name", "../up", "name='../up' must be usable"),
        ("name", "a\\b", "name='a\\\\b' must be usable"),
        ("name", "a\nb", "name='a\\nb' must be usable"),
        ("name", " a", "name=' a' must be usable"),
        ("name", 300 * "a", "name='aaaaaaaaaaaa...aaaaaaaaaaaaa' must be usable"),
        ("config.dataset", "", "config.dataset='' must be usable as the name of a directory"),
        ("config.architecture", "x/../up", "config.architecture='x/../up' must be usable"),
        ("model.architecture", "a\nb", "model.architecture='a\\nb' must be usable"),
        # Missing, unknown, of another type.
        ("history", DROP, "history is missing"),
        ("membership", DROP, "membership is missing"),
        ("accuracy.test", DROP, "accuracy.test is missing"),
        ("faults.weights.lost.high", DROP, "faults.weights.lost.high is missing"),
        ("robustness.0.epsilon", DROP, "robustness[0].epsilon is missing"),
        ("config.algorithm.name", DROP, "config.algorithm.name is missing"),
        ("model.color", 3, "model.color is an unknown key; was it written by a newer ft_tf?"),
        ("odd\nkey", 3, "['odd\\nkey'] is an unknown key"),
        ("faults.both", CAMPAIGN, "faults.both='both' must be weights or units"),
        ("faults", [], "faults=[] must be an object"),
        ("bit_errors", {"int8": {**CAMPAIGN, "target": "units"}}, "bit_errors.int8.target must be"),
        ("accuracy", "good", "accuracy='good' must be an object"),
        ("faults.weights.low", None, "faults.weights.low=None must be a list"),
        ("faults.weights.mean.1", "0.5", "faults.weights.mean[1]='0.5' must be a number"),
        ("faults.weights.mean.1", None, "faults.weights.mean[1]=None must be a number"),
        ("faults.weights.mean.1", True, "faults.weights.mean[1]=True must be a number"),
        ("training.epochs", "10", "training.epochs='10' must be an integer"),
        ("training.epochs", 2.0, "training.epochs=2.0 must be an integer"),
        ("training.epochs", True, "training.epochs=True must be an integer"),
        ("data.notes", "a note", "data.notes='a note' must be a list"),
        ("environment.packages.numpy", 2, "environment.packages.numpy=2 must be a string"),
        ("environment.onednn", 1, "environment.onednn=1 must be true or false"),
        ("status", "done", "status='done' must be finished or failed"),
        ("schema_version", True, "schema_version=True must be 1"),
        ("config.seed", "0", "config.seed='0' must be an integer"),
        ("config.label", 3, "config.label=3 must be a string"),
        ("config.algorithm", "natural", "config.algorithm='natural' must be an object"),
        ("robustness.0.parameters.distance", 2, "robustness[0].parameters.distance=2 must be"),
        # Out of range.
        ("accuracy.train", 98.2, "accuracy.train=98.2 must lie in [0, 1]"),
        ("accuracy.test", -0.1, "accuracy.test=-0.1 must lie in [0, 1]"),
        ("accuracy.test", math.nan, "accuracy.test=nan must be finite"),
        ("accuracy.test", math.inf, "accuracy.test=inf must be finite"),
        ("faults.weights.mean.1", 1.7, "faults.weights.mean[1]=1.7 must lie in [0, 1]"),
        ("faults.weights.sites", 0, "faults.weights.sites=0 must be at least 1"),
        ("data.test_examples", 0, "data.test_examples=0 must be at least 1"),
        ("timing.seconds", -1.0, "timing.seconds=-1.0 must be at least 0"),
        ("history.accuracy.0", 1.5, "history.accuracy must lie in [0, 1]"),
        ("config.dropout", 2.0, "config.dropout=2.0 must lie in [0, 1]"),
        (
            "faults.weights.epsilon_ft.0.half_margin.median",
            2.0,
            "faults.weights.epsilon_ft[0].half_margin.median='median' must be a number as text",
        ),
        # Values that do not belong together.
        ("accuracy.generalization_error", 0.3, "accuracy.generalization_error must be train -"),
        ("accuracy.test_interval", [0.8, 0.7], "accuracy.test_interval=[0.8, 0.7] must have the"),
        (
            "accuracy.test_interval",
            [0.7],
            "accuracy.test_interval=[0.7] must have 2 entries, not 1",
        ),
        ("accuracy", None, "accuracy must be an object, as status='finished'"),
        ("status", "failed", "failure must be an object, as status='failed'"),
        ("failure", {"reason": "", "epoch": 1, "step": 1}, "failure must be null, as status="),
        ("parameters.bin_counts", [9], "parameters.bin_counts must have one entry less than the 3"),
        ("parameters.bin_edges", [1.0, 0.0, 2.0], "parameters.bin_edges=[1.0, 0.0, 2.0] must be"),
        ("history.loss", [1.0], "history.loss must have one value per epoch"),
        ("history.epoch", DROP, "history.loss must have one value per epoch"),
        ("faults.weights.rates", [0.5, 0.0], "faults.weights.rates=[0.5, 0.0] must be one or more"),
        ("faults.weights.low", [0.4], "faults.weights.low must have 2 entries, as rates has, not"),
        ("faults.weights.low.1", 0.9, "faults.weights.low[1] must not lie above high[1]"),
        ("faults.weights.lost.low", [0.0], "faults.weights.lost.low must have 2 entries"),
        (
            "faults.weights.lost",
            {"mean": [0.1], "low": [0.1], "high": [0.1]},
            "faults.weights.lost.mean must have 2 entries, as rates has",
        ),
        ("faults.units", CAMPAIGN, "faults.units.target must be units"),
        (
            "faults.weights.drop_50_to_90",
            {"drop": 0.5, "at_50": 0.5, "at_90": 0.1},
            "faults.weights.drop_50_to_90.drop must be at_50 - at_90",
        ),
        (
            "layer_faults.weights.0.layer",
            "dense",
            "layer_faults.weights[0].layer must be 'whole model'",
        ),
        (
            "robustness.0.robust_generalization_error",
            0.1,
            "robustness[0].robust_generalization_error needs the accuracies on training images",
        ),
    ],
)
def test_what_breaks_the_schema_is_named_with_its_field(path, value, words):
    assert error_of(changed(path, value)).startswith(words)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("replicates", 3, f"results['{ROW}'].train must have replicates=3 entries"),
        (f"results.{ROW}.test", [0.5], f"results['{ROW}'].test must have replicates=2 entries"),
        (f"results.{ROW}.test", [[0.5], 1.0], f"results['{ROW}'].test[0]=[0.5] must be a number"),
        (f"results.{ROW}.sigma", None, f"results['{ROW}'].sigma=None must be a number"),
        ("rows", [ROW, "other"], "results must have an entry for each of rows"),
        ("form", "new", "form='new' must be fixed_data or redrawn_data"),
        ("results", DROP, "results is missing"),
        ("config.seed", DROP, "config.seed is missing"),
        ("config.label", 3, "config.label=3 must be a string"),
        ("accuracy", None, "accuracy is an unknown key"),
    ],
)
def test_a_broken_record_of_circles_is_named_with_its_field(path, value, words):
    assert error_of(changed(path, value, CIRCLES)).startswith(words)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "holds no record: a JSON object was expected"),
        ({}, "has schema_version=None; this ft_tf reads 1: use the version that wrote it"),
        ({**RUN, "schema_version": 2}, "has schema_version=2"),
        ({**RUN, "schema_version": nested(900)}, "has schema_version=[[[["),
        ({**RUN, "kind": "other"}, "has kind='other'; known are run, circles"),
        ({**RUN, "kind": []}, "has kind=[]; known are"),
    ],
)
def test_what_is_no_record_at_all_is_said(document, words):
    assert words in error_of(document)


def test_rounding_is_no_reason_to_refuse_a_record():
    document = changed("faults.weights.epsilon_ft.0.total_variation", {"0.95": 1 + 1e-7})
    assert records.to_dict(read(document)) == document
    document = changed("accuracy.generalization_error", 0.25 + 1e-12)
    assert records.to_dict(read(document)) == document


def test_keys_of_later_records_may_be_missing_and_stay_missing():
    older = changed("faults.weights.lost", DROP, changed("accuracy.test_interval", DROP))
    assert read(older).faults["weights"].lost is None
    assert records.to_dict(read(older)) == older


def test_an_optional_field_is_one_line_of_a_dataclass():
    @dataclasses.dataclass(frozen=True)
    class Old:
        size: Annotated[int, Range(1)]

    @dataclasses.dataclass(frozen=True)
    class New(Old):
        color: str | None = None

    assert records.parse(New, {"size": 2}, where="x") == New(2)
    assert records.to_dict(New(2)) == {"size": 2}
    assert records.to_dict(records.parse(New, {"size": 2, "color": "red"}, where="x")) == {
        "size": 2,
        "color": "red",
    }
    with pytest.raises(RunError, match="^x is no valid record: color is an unknown key"):
        records.parse(Old, {"size": 2, "color": "red"}, where="x")
    with pytest.raises(RunError, match="^x is no valid entry: color=3 must be a string"):
        records.parse(New, {"size": 2, "color": 3}, where="x", what="entry")


def test_comparable_leaves_out_timing_only():
    slow = read(changed("timing.seconds", 99.0))
    assert records.comparable(slow) == records.comparable(read(RUN))
    assert records.comparable(read({**RUN, "name": "c"})) != records.comparable(read(RUN))


# Whatever is done to a record, it is read as it should be or refused in one line.

NAMES = (
    "fashion_mnist-fmnist_dnn-dpsgd-sigma_1.1-clip_1-table_8-paper-epochs_60-seed_0",
    "fashion_mnist-fmnist_cnn_2-trades-epsilon_0.1-beta_1-table_5-paper-epochs_40-seed_0",
    "circles-fixed_data-replicates_200-epochs_4000-seed_0",
)
DOCUMENTS = [json.loads((RESULTS / name / "record.json").read_text()) for name in NAMES]
DOCUMENTS += [RUN, CIRCLES]


def places(part, path=()):
    """Paths of all values, with those in long lists thinned out."""
    yield path
    if isinstance(part, dict):
        items = part.items()
    elif isinstance(part, list):
        items = [pair for pair in enumerate(part) if pair[0] < 2 or pair[0] == len(part) - 1]
    else:
        return
    for step, item in items:
        yield from places(item, (*path, step))


CASES = [(number, path) for number, d in enumerate(DOCUMENTS) for path in places(d) if path]


def mutated(case, value):
    number, (*steps, last) = case
    document = part = dict(DOCUMENTS[number])
    for step in steps:  # only what lies on the way is copied
        part[step] = copy.copy(part[step])
        part = part[step]
    if value is DROP:
        del part[last]
    else:
        part[last] = value(part[last]) if callable(value) else value
    return document


def other_type(value):
    return 3 if isinstance(value, str) else "text"


@settings(max_examples=600, deadline=None)
@given(
    case=st.sampled_from(CASES),
    value=st.sampled_from(
        [math.nan, -math.inf, nested(20), 10**60, "half \udfff", {"\ud800": 1}, other_type]
    ),
)
def test_a_value_that_fits_nowhere_is_refused_everywhere(case, value):
    _, path = case
    holds_anything = path[0] == "config" or path[2:3] == ("parameters",) or "packages" in path
    if value is other_type and holds_anything:
        return
    assert path[0] in error_of(mutated(case, value))


@settings(max_examples=600, deadline=None)
@given(
    case=st.sampled_from(CASES),
    value=st.one_of(
        st.just(DROP),
        st.none(),
        st.booleans(),
        st.integers(-3, 3),
        st.floats(),
        st.text(max_size=5),
        st.lists(st.floats(0, 1), max_size=3),
        st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
    ),
)
def test_any_other_value_is_read_and_written_or_refused(case, value):
    _, path = case
    document = mutated(case, value)
    try:
        record = read(document)
    except RunError:
        assert path[0] in error_of(document)
    else:
        text = records.dumps(record)
        assert records.dumps(read(json.loads(text))) == text


@given(seed=st.integers(0, 2**32), number=st.integers(0, len(DOCUMENTS) - 1))
@settings(max_examples=20, deadline=None)
def test_the_order_of_keys_does_not_matter(seed, number):
    generator = random.Random(seed)

    def shuffled(value):
        if isinstance(value, dict):
            items = [(key, shuffled(item)) for key, item in value.items()]
            return dict(generator.sample(items, len(items)))
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    assert read(shuffled(DOCUMENTS[number])) == read(DOCUMENTS[number])


def test_all_parts_of_the_examples_are_valid():
    records.parse(records.Attack, ATTACK, where="x")
    records.parse(records.LayerFault, LAYER, where="x")
    records.parse(records.Campaign, CAMPAIGN, where="x")
