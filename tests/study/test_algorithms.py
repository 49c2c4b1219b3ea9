"""Algorithms: what each says of itself, and that the registry takes no wrong ones."""

import dataclasses
import subprocess
import sys
from typing import ClassVar

import pytest

from ft_tf.errors import ArgumentError
from ft_tf.privacy import privacy_cost
from ft_tf.study import algorithms
from ft_tf.study import config as c
from ft_tf.study.algorithms import DPSGD, Trades

BASE = c.RunConfig(dataset="fashion_mnist", architecture="fmnist_dnn")


@pytest.mark.parametrize("name", algorithms.names())
def test_every_algorithm_names_itself_and_trains(name):
    algorithm = algorithms.get(name)()
    assert algorithm.name == name and algorithm.label and algorithm.family in algorithms.FAMILIES
    assert algorithms.from_dict({"name": name, **dataclasses.asdict(algorithm)}) == algorithm
    assert all(isinstance(setting, str) for setting in algorithm.settings)


def test_settings_are_those_that_displays_had():
    for algorithm, settings in (
        (DPSGD(noise_multiplier=0.0), ("clipping only, clip 1",)),
        (DPSGD(l2_norm_clip=1e6, noise_multiplier=5e-6), ("noise only, deviation 5",)),
        (DPSGD(sampling="shuffle", engine="reference"),
         ("noise multiplier 1.1", "clip 1", "shuffled batches", "reference engine")),
        (Trades(epsilon=8 / 255, num_steps=4, step_size=0.01, distance="l_2"),
         ("epsilon 8/255", "beta 1", "4 steps of 0.01", "l_2")),
    ):  # fmt: skip
        assert algorithm.settings == settings


def test_cost_grows_with_what_a_step_computes():
    def passes(name, classes=10, **options):
        return algorithms.get(name)(**options).passes(classes=classes)

    assert passes("natural") == 3.0  # a forward and a backward pass
    assert passes("jacobian_penalty", classes=3) == 3.0 * 4
    assert passes("trades", num_steps=7) - passes("trades", num_steps=2) == 2 * 5


def test_only_a_seeded_noise_takes_the_seed_of_the_run():
    assert DPSGD(noise_seed=0).with_seed(4).noise_seed == 4
    assert DPSGD().with_seed(4).noise_seed is None
    assert Trades().with_seed(4) == Trades()
    assert DPSGD().has_secret_noise and not DPSGD(noise_seed=0).has_secret_noise


def test_a_class_that_is_no_frozen_dataclass_or_takes_a_name_is_refused():
    class Loose(algorithms.Algorithm):
        name: ClassVar[str] = "loose"

    @dataclasses.dataclass(frozen=True)
    class Natural2(algorithms.Algorithm):
        name: ClassVar[str] = "natural"
        label: ClassVar[str] = "natural"

    with pytest.raises(ArgumentError, match="Loose must be a frozen dataclass"):
        algorithms.register(Loose)
    with pytest.raises(ArgumentError, match="algorithm='natural' is registered already"):
        algorithms.register(Natural2)
    assert "loose" not in algorithms.names()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "sgd"}, "algorithm='sgd' must be one of"),
        ({}, "algorithm=None"),
        ({"name": "natural", "beta": 2}, "algorithm='natural' cannot be read"),
        ({"name": "dpsgd", "delta": 2.0}, "delta=2.0"),
    ],
)
def test_options_that_an_algorithm_lacks_are_refused(fields, message):
    with pytest.raises(ArgumentError, match=message):
        algorithms.from_dict(fields)


def test_algorithms_and_data_sets_bring_no_tensorflow():
    code = (
        "import sys; from ft_tf.study import algorithms, datasets; "
        "algorithms.Trades().settings; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_shuffled_epsilon_of_poisson_steps_is_that_of_their_passes():
    """Two Poisson steps an epoch, where a shuffled pass holds one full batch."""
    config = dataclasses.replace(BASE, algorithm=DPSGD(noise_multiplier=5.0), batch_size=60)
    found = config.algorithm.privacy(config, examples=100, steps=20, epochs_started=10)
    cost = privacy_cost(noise_multiplier=5.0, sampling_probability=0.6, steps=20, delta=1e-5)
    assert found["passes"] == 20
    assert found["epsilon_shuffled"] == cost.epsilon_shuffled
