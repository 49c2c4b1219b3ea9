"""`benchmark formats`: the time of a trial by storage format, on small and on larger networks."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks import timer
from ft_tf import architectures, faults
from ft_tf._compat import keras
from ft_tf.checks import check_choice, check_positive_integer
from ft_tf.faults.campaign import Campaign, drawn_ahead
from ft_tf.faults.plan import make_plan

STORAGES = (
    "float32", "bfloat16", "float16", "float8_e4m3", "float8_e5m2", "int8", "int8_per_channel",
    "int8_per_group:64", "int4", "int4_per_channel", "int4_per_group:64", "fixed:16.12",
)  # fmt: skip
RATE = 1e-3
_BATCH, _AT_LEAST = 500, 1.0  # images; seconds of one measurement


def transformer() -> keras.Model:
    """A small vision transformer: 49 patches of 28x28 pixels, two blocks of 4 heads."""
    layers = keras.layers
    images = keras.Input((28, 28, 1))
    x = layers.Reshape((49, 64))(layers.Conv2D(64, 4, strides=4)(images))
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 16)(y, y)])
        y = layers.Dense(128, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(64)(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(images, layers.Dense(10)(x))


def mobilenet_v2() -> keras.Model:
    """MobileNetV2 for 10 classes of 32x32 pixels, with 2.2 million weights."""
    return keras.applications.MobileNetV2(
        (32, 32, 3), weights=None, classes=10, classifier_activation=None
    )


NETWORKS: dict[str, tuple[Callable[[], keras.Model], int]] = {
    "fmnist_dnn": (lambda: architectures.build("fmnist_dnn"), 10_000),
    "fmnist_cnn_1": (lambda: architectures.build("fmnist_cnn_1"), 2_000),
    "transformer": (transformer, 2_000),
    "mobilenet_v2": (mobilenet_v2, 500),
}
"""Each with the images of a trial."""


def run(
    *, rounds: int = 3, networks: tuple[str, ...] = tuple(NETWORKS), images: int | None = None
) -> list[dict[str, Any]]:
    """Times trials in which a bit of each stored weight is inverted with probability 0.001.

    The networks are untrained and the images noise: neither changes the time.

    Args:
        rounds: measurements of each format, A B A B.
        networks: some of `NETWORKS`.
        images: of a trial; default: by the network.

    Returns:
        A row for each network and format: network, sites (weights), images, storage,
        trial_seconds (median), ratio (to float32 of the network), ratio_low, ratio_high.
    """
    check_positive_integer(rounds=rounds)
    rows = []
    for name in networks:
        check_choice(tuple(NETWORKS), network=name)
        build, count = NETWORKS[name]
        keras.utils.set_random_seed(0)
        model = build()
        draw = np.random.Generator(np.random.Philox(0))
        x = draw.random((images or count, *model.input_shape[1:]), dtype=np.float32)
        y = draw.integers(0, 10, len(x))
        times = timer.in_turn({s: _trials(model, x, y, s) for s in STORAGES}, rounds)
        for storage, samples in times.items():
            row = {"network": name, "sites": model.count_params(), "images": len(x)}
            row |= {"storage": storage, "trial_seconds": samples.median}
            rows.append({**row, **samples.ratio_to(times["float32"])})
    return rows


def _trials(model: keras.Model, x: np.ndarray, y: np.ndarray, storage: str) -> Callable[[], float]:
    """A function that times one trial, compiled before; each call draws other faults."""
    plan = make_plan(model, target="weights", fault=faults.BitErrors(storage))
    campaign = Campaign(model, plan, x, y, batch_size=min(_BATCH, len(x)))
    numbers = itertools.count()

    def trial() -> None:
        for _, _, masks in drawn_ahead(plan, 0, [next(numbers)], [RATE]):
            campaign.run(masks)

    def timed() -> float:
        with campaign.armed():
            trial()
            return timer.seconds(trial, at_least=_AT_LEAST)

    return timed
