import dataclasses
from pathlib import Path

import pytest

from ft_tf import architectures, records
from ft_tf.errors import ArgumentError
from ft_tf.study import algorithms
from ft_tf.study import config as c
from ft_tf.study.algorithms import DPSGD

BASE = c.RunConfig(dataset="fashion_mnist", architecture="fmnist_dnn")
REFERENCE = DPSGD(engine="reference", sampling="shuffle")
COLOUR = {"dataset": "cifar10", "architecture": "cifar10_cnn"}


@pytest.mark.parametrize(
    "algorithm",
    [
        algorithms.Natural(),
        algorithms.Tikhonov(l2=0.5),
        algorithms.AdditiveGaussian(sigma=0.25),
        algorithms.MultiplicativeGaussian(sigma=0.5),
        algorithms.JacobianPenalty(sigma=0.1),
        algorithms.Trades(epsilon=0.3, num_steps=7, distance="l_2", normalized_example=True),
        DPSGD(noise_multiplier=0.5, noise_seed=3, delta=1e-6),
    ],
)
def test_a_configuration_survives_json(algorithm):
    config = dataclasses.replace(
        BASE,
        algorithm=algorithm,
        learning_rate_drops=((3, 0.1), (5, 0.01)),
        rows=("table_5/fmnist_dnn/natural",),
        deviations=("epochs 2 of 60",),
    )
    assert c.from_dict(c.to_dict(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "mnist"}, "dataset='mnist'"),
        ({"architecture": "resnet"}, "architecture='resnet'"),
        ({"architecture": "cifar10_cnn"}, "architecture='cifar10_cnn' does not take"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"momentum": -0.1}, "momentum=-0.1"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum=0.9"),
        ({"augment": True}, "augment=True"),
        ({"precision": "float16"}, "precision='float16'"),
        ({"dropout": 1.5}, "dropout=1.5"),
        ({"dropout": 1.0}, "dropout=1.0 must be below 1"),
        ({"rows": ("table_5",)}, "row='table_5' must be TABLE/NETWORK/ALGORITHM"),
        ({"seed": -1}, "seed=-1"),
        ({"holdout": -1}, "holdout=-1"),
        ({"stop_at_holdout_accuracy": 0.8}, "stop_at_holdout_accuracy=0.8 needs holdout > 0"),
        (
            {"algorithm": DPSGD(), "fault_aware_rate": 0.1},
            "fault_aware_rate=0.1 cannot be used",
        ),
        (
            {"fault_aware_storage": "int8", "fault_aware_rate": 0.1},
            "fault_aware_storage='int8' needs fault_aware_rate > 0 and",
        ),
        (
            {"fault_aware_storage": "int8", "fault_aware_target": "weights"},
            "fault_aware_storage='int8' needs fault_aware_rate > 0 and",
        ),
        ({"fault_aware_storage": "int9"}, "storage='int9' must be one of"),
        ({"max_weight": -1.0}, "max_weight=-1.0"),
        (
            {**COLOUR, "algorithm": DPSGD(), "augment": True},
            "augment=True cannot be used",
        ),
        ({"algorithm": REFERENCE, "weight_decay": 0.1}, "weight_decay=0.1 needs engine='fast'"),
        ({"algorithm": REFERENCE, "optimizer": "adam"}, "optimizer='adam' must be 'sgd'"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(change, message):
    with pytest.raises(ArgumentError, match=message):
        dataclasses.replace(BASE, **change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: algorithms.Tikhonov(l2=-1.0), "l2=-1.0"),
        (lambda: algorithms.AdditiveGaussian(sigma=-0.1), "sigma=-0.1"),
        (lambda: algorithms.Trades(epsilon=-0.1), "epsilon=-0.1"),
        (lambda: algorithms.Trades(distance="l_1"), "distance='l_1'"),
        (lambda: DPSGD(noise_multiplier=-1.0), "noise_multiplier=-1.0"),
        (lambda: DPSGD(l2_norm_clip=0.0), "l2_norm_clip=0.0"),
        (lambda: DPSGD(delta=1.0), "delta=1.0"),
        (lambda: DPSGD(engine="reference"), "sampling='poisson' cannot be used with"),
        (
            lambda: DPSGD(engine="reference", sampling="shuffle", noise_seed=1),
            "noise_seed=1 cannot fix the noise",
        ),
        (lambda: c.Evaluation(fault_rates=(0.5, 1.5)), "fault_rate=1.5"),
        (lambda: c.Evaluation(fault_targets=("bias",)), "fault_target='bias'"),
    ],
)
def test_a_bad_option_is_named_with_its_value(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_names_tell_runs_apart_and_mark_the_sample():
    full = BASE.name(is_sample=False)
    sample = BASE.name(is_sample=True)
    assert full != sample
    assert "sample" in sample and "fmnist_dnn" in sample
    noisy = dataclasses.replace(BASE, algorithm=DPSGD(noise_multiplier=0.5), seed=4)
    assert "dpsgd" in noisy.name(is_sample=False)
    assert "0.5" in noisy.name(is_sample=False)
    assert noisy.name(is_sample=False).endswith("seed_4")
    mixed = dataclasses.replace(BASE, precision="mixed_bfloat16")
    assert "mixed_bfloat16" in mixed.name(is_sample=False)
    faulty = {"fault_aware_rate": 0.01, "fault_aware_target": "weights", "max_weight": 0.1}
    stored = dataclasses.replace(BASE, **faulty, fault_aware_storage="int8_per_group:64")
    assert "-faulty_int8_per_group_64_0.01-max_weight_0.1-" in stored.name(is_sample=False)
    assert "-faulty_weights_0.01-" in dataclasses.replace(BASE, **faulty).name(is_sample=False)
    assert "max_weight" not in c.to_dict(BASE) and c.from_dict(c.to_dict(stored)) == stored


def test_an_unknown_key_is_refused():
    fields = c.to_dict(BASE) | {"warmup": 3}
    with pytest.raises(ArgumentError, match="config cannot be read"):
        c.from_dict(fields)


def test_what_older_records_lack_is_left_out_at_its_default():
    fields = c.to_dict(BASE)
    assert not {"holdout", "stop_at_holdout_accuracy"} & set(fields)
    assert "fault" not in fields["evaluation"]
    changed = dataclasses.replace(
        BASE, holdout=100, stop_at_holdout_accuracy=0.5, evaluation=c.Evaluation(fault="sign_flip")
    )
    assert c.to_dict(changed)["holdout"] == 100
    assert c.from_dict(c.to_dict(changed)) == changed
    assert "-holdout_100-stopped_at_holdout_0.5000-" in changed.name(is_sample=False)


RESULTS = Path(__file__).parent.parent.parent / "experiments" / "results"


def test_committed_configurations_are_what_they_were_and_have_their_names():
    found = [record for record in records.load_all(RESULTS) if record.kind == "run"]
    assert len(found) > 100
    for record in found:
        config = c.from_dict(record.config)
        assert c.to_dict(config) == record.config
        assert config.name(is_sample=False) == record.name


def test_an_architecture_names_a_part_of_directories_and_records(monkeypatch):
    made = architectures.get("fmnist_dnn")
    monkeypatch.setitem(architectures._ARCHITECTURES, "a/b", dataclasses.replace(made, name="a/b"))
    with pytest.raises(ArgumentError, match="architecture='a/b' must be usable as the name of"):
        c.RunConfig("fashion_mnist", "a/b")
