"""`benchmark peers`: training next to what a user would run instead, PyTorch and Opacus.

They belong into an environment of their own (`pip install torch opacus`), whose Python
--peer_python names: their part runs there, in `torch_training.py`. Both sides train the same
architectures from random images in memory, with the same number of threads: ours by `fit`, DP-SGD
on Poisson batches; the peer by a bare loop, Opacus on fixed batches.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks import child, timer, torch_training
from ft_tf import architectures, checks
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError, RunError
from ft_tf.training import DPSGDModel, NaturalModel, TradesModel
from ft_tf.training.bfloat16 import bfloat16_is_fast

RATE, CLIP, SIGMA = 0.05, 1.0, 1.1
ATTACK = {"epsilon": 0.031, "step_size": 0.007, "num_steps": 10, "beta": 6.0}
_BATCHES = {architectures.CIFAR10_SHAPE: 8}
"""Of the random data; 160 for smaller images: `fit` has a cost of its own in each epoch."""


def resnet_8(make: architectures.LayerMaker) -> keras.Model:
    """Three residual blocks of 16, 32 and 64 filters with GroupNormalization, for 32x32x3."""
    layers = keras.layers

    def convolution(x: Any, filters: int, size: int, strides: int = 1) -> Any:
        kernel = {"kernel_initializer": make.initializer()}
        return layers.Conv2D(filters, size, strides, padding="same", **kernel)(x)

    def normalized(x: Any) -> Any:
        return layers.GroupNormalization(8)(x)

    images = keras.Input(architectures.CIFAR10_SHAPE)
    x = layers.ReLU()(normalized(convolution(images, 16, 3)))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = layers.ReLU()(normalized(convolution(x, filters, 3, strides)))
        y = normalized(convolution(y, filters, 3))
        shortcut = x if filters == x.shape[-1] else convolution(x, filters, 1, strides)
        x = layers.ReLU()(layers.Add()([y, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(10, kernel_initializer=make.initializer())(x))


architectures.register("resnet_8", resnet_8, input_shape=architectures.CIFAR10_SHAPE)


@dataclasses.dataclass(frozen=True)
class Pair:
    """One line of the table.

    Attributes:
        ours: "plain", "dpsgd", "trades" or "trades_bfloat16".
        peer: one of `torch_training.WORKS`, or "ours" for our own plain training.
        architecture: of both.
        batch_size: examples per step; the expected number in a Poisson batch.
        floor: the least ratio that is wanted: what "reached" is judged by.
    """

    ours: str
    peer: str
    architecture: str
    batch_size: int
    floor: float


PAIRS = (
    Pair("trades", "trades", "fmnist_dnn", 128, 1.3),
    Pair("trades", "trades", "cifar10_cnn", 128, 1.3),
    Pair("trades_bfloat16", "trades_bfloat16", "fmnist_dnn", 128, 1.0),
    Pair("trades_bfloat16", "trades_bfloat16", "cifar10_cnn", 128, 1.2),
    Pair("dpsgd", "plain", "fmnist_dnn", 250, 0.75),
    Pair("dpsgd", "plain", "fmnist_cnn_1", 250, 1.4),
    Pair("dpsgd", "ghost", "fmnist_dnn", 250, 1.5),
    Pair("dpsgd", "ghost", "fmnist_cnn_1", 250, 2.8),
    Pair("dpsgd", "ghost", "resnet_8", 250, 3.0),
    Pair("dpsgd", "ours", "resnet_8", 250, 0.6),
)


def run(
    *,
    peer_python: str | None = None,
    rounds: int = 3,
    seconds: float = 8.0,
    threads: int = 2,
    pairs: tuple[Pair, ...] = PAIRS,
) -> list[dict[str, Any]]:
    """Trains each pair's architecture on both sides, A B A B; ours by `fit`.

    bfloat16 is not measured on a processor that emulates it: a step of the peer takes minutes.

    Args:
        peer_python: the Python that has torch and opacus.
        rounds: measurements of each side.
        seconds: about the time of a measurement.
        threads: of either side.
        pairs: what is compared.

    Returns:
        A row for each pair: work, architecture, batch_size, peer (with its version),
        examples_per_second and peer_examples_per_second (medians over the rounds), ratio (of
        medians), ratio_low and ratio_high (least and greatest within a round), floor, reached
        ("yes", "no", or why it was not measured).

    Raises:
        ArgumentError: an argument is out of range, or `peer_python` is missing.
        RunError: the peer fails, or its network has another number of parameters.
    """
    checks.check_positive_integer(rounds=rounds, threads=threads)
    checks.check_positive(seconds=seconds)
    versions = {"ours": "our plain SGD"}
    if any(pair.peer != "ours" for pair in pairs):
        if not peer_python:
            raise ArgumentError("peer_python=None must name a Python that has torch and opacus")
        versions |= _versions(peer_python)
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        what = {"work": pair.ours, "architecture": pair.architecture}
        what |= {"batch_size": pair.batch_size, "peer": versions[pair.peer]}
        if pair.ours.endswith("bfloat16") and bfloat16_is_fast() is False:
            rows.append(what | {"floor": pair.floor, "reached": "bfloat16 is emulated here"})
            continue
        size = pair.architecture, pair.batch_size, seconds
        sides = {"ours": ours(pair.ours, *size)}
        if pair.peer == "ours":
            sides["peer"] = ours("plain", *size)
        else:
            sides["peer"] = functools.partial(_peer, str(peer_python), pair, threads, seconds)
        rates = timer.in_turn(sides, rounds)
        ratio = rates["ours"].ratio_to(rates["peer"])
        rows.append({
            **what, "examples_per_second": rates["ours"].median,
            "peer_examples_per_second": rates["peer"].median, **ratio, "floor": pair.floor,
            "reached": "yes" if ratio["ratio"] >= pair.floor else "no",
        })  # fmt: skip
    return rows


def ours(work: str, architecture: str, batch_size: int, seconds: float) -> Callable[[], float]:
    """A function that trains for about that time and returns the examples per second."""
    model = trainer(work, architecture)
    draw = np.random.Generator(np.random.Philox(0))
    shape = architectures.input_shape(architecture)
    x = draw.random((_BATCHES.get(shape, 160) * batch_size, *shape), dtype=np.float32)
    y = draw.integers(0, 10, len(x))

    def fit(epochs: int) -> None:
        model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)

    fit(1)  # compiles
    epochs = max(1, round(seconds / timer.seconds(lambda: fit(1))))
    return lambda: len(x) / timer.seconds(lambda: fit(epochs), units=epochs)


def trainer(work: str, architecture: str) -> keras.Model:
    """Returns the compiled trainer of "plain", "dpsgd", "trades" or "trades_bfloat16"."""
    precision = "mixed_bfloat16" if work.endswith("bfloat16") else "float32"
    model = architectures.build(architecture, precision=precision)
    if work.startswith("trades"):
        made = TradesModel(model, **ATTACK)
    elif work == "dpsgd":
        made = DPSGDModel(model, l2_norm_clip=CLIP, noise_multiplier=SIGMA)
    else:
        made = NaturalModel(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(RATE), *([] if work.startswith("trades") else [loss]))
    return made


def _versions(python: str) -> dict[str, str]:
    """What each of the peer's works is called, with the version of its package."""
    say = "import torch, opacus; print(torch.__version__, opacus.__version__)"
    torch, opacus = child.last_line([python, "-c", say], f"peer_python={python}").split()
    names = {work: f"PyTorch {torch}, {work}" for work in torch_training.WORKS}
    return names | {"ghost": f"Opacus {opacus}, ghost clipping"}


def _peer(python: str, pair: Pair, threads: int, seconds: float) -> float:
    command = [python, torch_training.__file__, pair.peer, pair.architecture, pair.batch_size]
    line = child.last_line([*command, threads, seconds], f"peer_python={python}, {pair.peer}")
    found = json.loads(line)
    parameters = architectures.build(pair.architecture).count_params()
    if found["parameters"] != parameters:
        raise RunError(
            f"{pair.architecture} has {parameters} parameters, the peer's {found['parameters']}"
        )
    return float(found["examples_per_second"])
