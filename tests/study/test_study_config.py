import dataclasses

import pytest

from ft_tf.errors import ArgumentError
from ft_tf.study import config as c

BASE = c.RunConfig(dataset="fashion_mnist", architecture="fmnist_dnn")
REFERENCE = c.DPSGD(engine="reference", sampling="shuffle")
COLOUR = {"dataset": "cifar10", "architecture": "cifar10_cnn"}


@pytest.mark.parametrize(
    "algorithm",
    [
        c.Natural(),
        c.Tikhonov(l2=0.5),
        c.AdditiveGaussian(sigma=0.25),
        c.MultiplicativeGaussian(sigma=0.5),
        c.JacobianPenalty(sigma=0.1),
        c.Trades(epsilon=0.3, num_steps=7, distance="l_2", normalized_example=True),
        c.DPSGD(noise_multiplier=0.5, noise_seed=3, delta=1e-6),
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
        ({"seed": -1}, "seed=-1"),
        ({"algorithm": c.DPSGD(), "fault_aware_rate": 0.1}, "fault_aware_rate=0.1 cannot be used"),
        ({**COLOUR, "algorithm": c.DPSGD(), "augment": True}, "augment=True cannot be used"),
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
        (lambda: c.Tikhonov(l2=-1.0), "l2=-1.0"),
        (lambda: c.AdditiveGaussian(sigma=-0.1), "sigma=-0.1"),
        (lambda: c.Trades(epsilon=-0.1), "epsilon=-0.1"),
        (lambda: c.Trades(distance="l_1"), "distance='l_1'"),
        (lambda: c.DPSGD(noise_multiplier=-1.0), "noise_multiplier=-1.0"),
        (lambda: c.DPSGD(l2_norm_clip=0.0), "l2_norm_clip=0.0"),
        (lambda: c.DPSGD(delta=1.0), "delta=1.0"),
        (lambda: c.DPSGD(engine="reference"), "cannot draw Poisson batches"),
        (
            lambda: c.DPSGD(engine="reference", sampling="shuffle", noise_seed=1),
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
    noisy = dataclasses.replace(BASE, algorithm=c.DPSGD(noise_multiplier=0.5), seed=4)
    assert "dpsgd" in noisy.name(is_sample=False)
    assert "0.5" in noisy.name(is_sample=False)
    assert noisy.name(is_sample=False).endswith("seed_4")
    mixed = dataclasses.replace(BASE, precision="mixed_bfloat16")
    assert "mixed_bfloat16" in mixed.name(is_sample=False)


def test_an_unknown_key_is_refused():
    fields = c.to_dict(BASE) | {"warmup": 3}
    with pytest.raises(ArgumentError, match="config cannot be read"):
        c.from_dict(fields)
