"""Flags are made of the dataclasses that they fill, and binaries live side by side."""

import dataclasses
import importlib
from typing import ClassVar

import pytest
from absl import flags

from experiments import _app, _flags, attack, train
from ft_tf.errors import ArgumentError
from ft_tf.study import algorithms
from ft_tf.study.config import Evaluation, RunConfig

BINARIES = ("assess", "attack", "compute_epsilon", "inject_faults", "prepare_data", "report",
            "reproduce", "single_faults", "train")  # fmt: skip
FLAGS = flags.FLAGS


def parse(module, *arguments):
    _app.define(module.define_flags)
    FLAGS(["binary", *arguments])


def test_all_binaries_are_imported_and_parsed_in_one_process():
    for _ in range(2):
        for name in BINARIES:
            parse(importlib.import_module(f"experiments.{name}"))


def test_every_default_of_train_is_that_of_the_dataclass():
    parse(train)
    filled = train._config(train._source())
    plain = RunConfig(dataset="fashion_mnist", architecture="fmnist_dnn")
    # --attack_steps is that of Auto-PGD too.
    evaluation = dataclasses.replace(plain.evaluation, apgd_steps=plain.evaluation.attack_steps)
    assert filled == dataclasses.replace(plain, evaluation=evaluation)
    for name in algorithms.names():
        parse(train, f"--algorithm={name}")
        assert train._algorithm() == algorithms.get(name)()
    assert (algorithms.Tikhonov().l2, plain.learning_rate) == (1e-3, 0.15)


def test_flags_fill_fields_of_every_type():
    parse(
        train, "--algorithm=trades", "--num_steps=3", "--normalized_example", "--distance=l_2",
        "--fault_rates=0,0.25", "--fault_targets=units", "--nocurve", "--holdout=7", "--seed=5",
    )  # fmt: skip
    config = train._config(train._source())
    assert config.algorithm == algorithms.Trades(
        num_steps=3, normalized_example=True, distance="l_2"
    )
    measured = config.evaluation
    assert (measured.fault_rates, measured.fault_targets) == ((0.0, 0.25), ("units",))
    assert (measured.fault_seed, config.seed, config.holdout) == (5, 5, 7)
    assert (measured.attacks, measured.attack_epsilon) == (("pgd",), 0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fault_rates=0,half"], "fault_rates='0,half' must be numbers"),
        (["--beta=2"], "beta=2.0 is not an option of algorithm='natural'"),
        (["--data=a.npz", "--dataset=cifar10"], "give one"),
        (["--fault=bit_rot"], "fault='bit_rot'"),
        (["--fault=gaussian"], "sigma=None must be given"),
    ],
)
def test_flags_that_cannot_be_used_are_named(arguments, message):
    parse(train, *arguments)
    with pytest.raises(ArgumentError, match=message):
        train._config(train._source())


def test_radii_may_be_fractions():
    parse(
        train, "--algorithm=trades", "--epsilon=8/255", "--step_size=2/255",
        "--attack_epsilon=4/255", "--learning_rate=1/8",
    )  # fmt: skip
    config = train._config(train._source())
    assert (config.algorithm.epsilon, config.algorithm.step_size) == (8 / 255, 2 / 255)
    assert (config.evaluation.attack_epsilon, config.learning_rate) == (4 / 255, 0.125)
    assert FLAGS["epsilon"].serialize() == f"--epsilon={8 / 255!r}"  # --flagfile repeats it
    parse(attack, "--epsilon=0.3")
    assert FLAGS.epsilon == 0.3


@pytest.mark.parametrize("text", ["8/0", "8/", "8/255/3", "a lot"])
def test_what_is_no_fraction_is_refused(text):
    with pytest.raises(flags.IllegalFlagValueError, match="epsilon"):
        parse(attack, f"--epsilon={text}")


def test_every_option_has_its_documentation_and_an_own_algorithm_gets_flags(monkeypatch):
    monkeypatch.setattr(algorithms.base, "_ALGORITHMS", dict(algorithms.base._ALGORITHMS))

    @algorithms.register
    @dataclasses.dataclass(frozen=True)
    class Toy(algorithms.Natural):
        """A toy.

        Attributes:
            strength: of the toy.
        """

        name: ClassVar[str] = "toy"
        strength: int = 3

    for spec in (*map(algorithms.get, algorithms.names()), RunConfig, Evaluation):
        documented = _flags.attribute_docs(spec)
        assert {field.name for field in dataclasses.fields(spec)} <= set(documented), spec
    parse(train, "--algorithm=toy", "--strength=5")
    assert train._algorithm() == Toy(strength=5)
    assert FLAGS["strength"].help == "toy: of the toy. Default: 3."
