"""Every public function and every flag with drawn arguments, most of them wrong.

A call gives an answer of its declared type, or one line of an ft_tf error; a binary prints its
answer, or one line and exits with 2. An argument out of range never gives a number.
"""

import dataclasses
import importlib
import inspect
import json
import math
import os
import subprocess
import sys
import typing
from pathlib import Path

import fuzzing
import numpy as np
import pytest
from absl import flags
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from experiments import _app
from ft_tf import architectures, records
from ft_tf._compat import keras

ROOT = Path(__file__).parent.parent
CASES = [
    (name, parameter)
    for name in fuzzing.functions()
    for parameter, (kind, _) in fuzzing.parameters_of(name).items()
    if kind is not None and kind.wrong
]
BINARIES = {
    # name: flags of a command that is right and quick, or ends early
    "compute_epsilon": ["--noise_multiplier=1.1", "--steps=10"],
    "train": [
        "--epochs=1", "--train_limit=60", "--test_limit=20", "--batch_size=20", "--fault_trials=1",
    ],
    "inject_faults": [
        "--model=model.keras", "--dataset=fashion_mnist", "--rates=0.5", "--trials=1",
        "--layer_rate=0", "--images_per_trial=5",
    ],
    "single_faults": [
        "--model=model.keras", "--dataset=fashion_mnist", "--budget=1", "--images=5",
    ],
    "attack": [
        "--model=model.keras", "--dataset=fashion_mnist", "--attack=pgd", "--images=5", "--steps=2",
    ],
    "reproduce": ["--scale=smoke", "--tables=8", "--only=nothing"],
    "report": ["--output_dir=nowhere"],
    "store_zoo": ["--runs=nowhere"],
    "prepare_data": ["--dataset=fashion_mnist", "--from=nowhere"],
    "benchmark": ["nothing"],
    "run_plan": ["--plan=remedies", "--only=nothing"],
}  # fmt: skip
SEARCHES = (("run_plan", "only"), ("report", "output_dir"))
"""A wrong text of these is right, and long work: all runs of a plan, all files below a place."""
NO_NUMBER = ("", "x", "nan", "inf", "-inf", "-1", "1e400", "³", "1,2", "-1e300")
NO_INTEGER = (*NO_NUMBER, "1.5", "1e300", "9" * 30)
NO_TEXT = ("none such", "x" * 5000, "a/b\n", "³", "", "--", "%s%n", "../..", "🦆")

# ---- functions


def test_every_parameter_of_a_public_function_can_be_drawn():
    for name in fuzzing.functions():
        for parameter, (kind, default) in fuzzing.parameters_of(name).items():
            known = kind is not None or default is not inspect.Parameter.empty
            assert known or parameter in ("unit", "seeded", "name", "path"), (
                f"{name}: tests/fuzzing.py must say which values of {parameter} are right and wrong"
            )


def has_declared_type(result, function):
    """Whether a result is what the function's annotation says, and a number where it is one."""
    if inspect.isclass(function):
        return isinstance(result, function)
    declared = typing.get_type_hints(function).get("return")
    if declared is float:
        return isinstance(result, float) and not math.isnan(result)
    if isinstance(result, np.ndarray) and result.dtype.kind == "f":
        return bool(np.isfinite(result).all())
    if dataclasses.is_dataclass(declared) or declared in (int, str, bool, keras.Model):
        return isinstance(result, declared)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.functions())
def test_the_usual_call_answers(name):
    arguments = fuzzing.usual_arguments(name)
    if {"path", "directory"} & set(arguments):
        return  # files are read in tests/data, tests/models and tests/study
    result = fuzzing.outcome_of(lambda: fuzzing.call(name, arguments), must_refuse=False)
    assert not isinstance(result, str) or result != "refused"
    function = fuzzing.functions()[name]
    assert has_declared_type(result, function) or inspect.isgeneratorfunction(
        inspect.unwrap(function)
    )


def check_wrong_argument(case, wrong, others):
    """One argument out of range, the others usual or, for a third of them, any right value."""
    name, parameter = case
    arguments = fuzzing.usual_arguments(name)
    for number, (other, (kind, _)) in enumerate(fuzzing.parameters_of(name).items()):
        if kind is not None and kind.right and others >> number & 3 == 3:
            right = kind.right[others % len(kind.right)]
            if right is not None and other in arguments:
                arguments[other] = right
    kind, default = fuzzing.parameters_of(name)[parameter]
    choices = [value for value in kind.wrong if value is not None or default is not None]
    arguments[parameter] = choices[wrong % len(choices)]
    fuzzing.outcome_of(lambda: fuzzing.call(name, arguments), must_refuse=True, name=parameter)


drawn_case = st.sampled_from(CASES)
drawn_number = st.integers(0, 10**6)


@settings(
    max_examples=150, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@example(("training.TradesModel", "beta"), 0, 0)
@example(("faults.sweep", "trials"), 0, 0)
@example(("metrics.accuracy", "y"), 8, 0)
@example(("privacy.theorem_1", "epsilon"), 12, 0)
@example(("intervals.proportion", "successes"), 14, 0)
@example(("models.load", "path"), 0, 0)
@given(drawn_case, drawn_number, drawn_number)
def test_a_wrong_argument_is_refused(case, wrong, others):
    check_wrong_argument(case, wrong, others)


@pytest.mark.slow
@settings(
    max_examples=2000, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(drawn_case, drawn_number, drawn_number)
def test_wrong_arguments_are_refused(case, wrong, others):
    check_wrong_argument(case, wrong, others)


# ---- JSON of records


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=100, derandomize=True, database=None)
@given(json_values)
def test_no_json_is_taken_for_a_record(value):
    outcome = fuzzing.outcome_of(lambda: records.from_dict(value, where="x"), must_refuse=True)
    assert outcome == "refused"


@pytest.mark.parametrize("depth", [20, 900, 5000])
def test_deep_values_are_taken_for_no_record(depth):
    value = {"kind": "run", "config": {"dataset": nested(depth)}}
    for part in (value, nested(depth)):
        fuzzing.outcome_of(lambda part=part: records.from_dict(part, where="x"), must_refuse=True)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 50_000, "\ud800", "", "{", "nan", "1" * 5000],
    ids=["lists", "objects", "surrogate", "empty", "open", "nan", "long integer"],
)
def test_no_text_is_taken_for_a_record(text, tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    fuzzing.outcome_of(lambda: records.load(path), must_refuse=True)


# ---- binaries


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A process that runs command lines in a directory with a model file."""
    place = tmp_path_factory.mktemp("fuzz")
    architectures.build("fmnist_dnn").save(place / "model.keras")
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "fuzz_binaries.py"],
        cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def run(arguments):
        process.stdin.write(json.dumps(arguments) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait(timeout=100)


def flags_of(binary):
    """{name: type} of the flags that a binary defines."""
    _app.define(lambda: None)
    others = set(flags.FLAGS)
    _app.define(importlib.import_module(f"experiments.{binary}").define_flags)
    return {name: flags.FLAGS[name].flag_type() for name in set(flags.FLAGS) - others}


def wrong_flags():
    """(binary, flag, value) of every flag and every value that is wrong for its type."""
    cases = []
    for binary in BINARIES:
        for name, kind in sorted(flags_of(binary).items()):
            KINDS_OF_FLAGS[binary, name] = kind
            if kind == "bool":
                values = ("x", "2", "none")
            elif kind == "int":
                values = NO_INTEGER
            elif kind == "float":
                values = NO_NUMBER
            elif (binary, name) in SEARCHES:
                values = ()
            else:
                values = NO_TEXT
            cases += [(binary, name, value) for value in values]
    return cases


KINDS_OF_FLAGS = {}
WRONG_FLAGS = wrong_flags()


def check_command(server, binary, given_flags):
    """Runs a command: an answer, or one line and code 2; the outcome is counted."""
    code, stdout, stderr = server([f"experiments.{binary}", *BINARIES[binary], *given_flags])
    lines = stderr.strip().splitlines()
    assert "Traceback" not in stdout + stderr, stderr
    if code == 2:
        assert len(lines) == 1 and lines[0].startswith("error: "), stderr
        assert len(lines[0]) < 1200
        fuzzing.OUTCOMES["binary refused, code 2"] += 1
    else:
        assert code in (0, 1), (code, stderr)
        fuzzing.OUTCOMES[f"binary answered, code {code}"] += 1
    return code


def check_wrong_flag(server, case, others):
    binary, name, value = case
    given_flags = [f"--{name}={value}"]
    if others % 3 == 0:  # a second wrong flag: still one line
        second = WRONG_FLAGS[others % len(WRONG_FLAGS)]
        if second[0] == binary:
            given_flags.append(f"--{second[1]}={second[2]}")
    code = check_command(server, binary, given_flags)
    if KINDS_OF_FLAGS[binary, name] in ("int", "float", "bool"):
        assert code == 2, f"{given_flags} was taken"


@settings(max_examples=50, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@example(("compute_epsilon", "epochs", "1e300"), 1)
@example(("compute_epsilon", "n", "1" + "0" * 24), 1)
@example(("compute_epsilon", "noise_multiplier", "1e300"), 1)
@example(("reproduce", "tables", "³"), 1)
@example(("inject_faults", "sigma", "-1"), 1)
@example(("inject_faults", "block", "-1"), 1)  # checked although no other flag asks for it
@example(("attack", "fault_trials", "-1"), 1)
@example(("store_zoo", "runs", NO_TEXT[1]), 1)
@given(st.sampled_from(WRONG_FLAGS), drawn_number)
def test_a_wrong_flag_is_one_line(server, case, others):
    check_wrong_flag(server, case, others)


@pytest.mark.slow
@settings(
    max_examples=400, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(st.sampled_from(WRONG_FLAGS), drawn_number)
def test_wrong_flags_are_one_line(server, case, others):
    check_wrong_flag(server, case, others)


@pytest.mark.slow
def test_the_outcomes_are_counted(capfd):
    with capfd.disabled():
        for outcome, count in sorted(fuzzing.OUTCOMES.items()):
            print(f"\n{outcome}: {count}", end="", file=sys.stderr)
        print(file=sys.stderr)
    assert sum(fuzzing.OUTCOMES.values()) >= 2000
