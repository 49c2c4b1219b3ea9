"""The paper's architectures (Table 2) and the circles network (section 4.1), by name.

Every model gives logits. Layers are seeded one by one, so a name and a seed fix all weights. Their
names are fixed as well: Keras's own would count on with every model that the process builds, and
records and the faults of fault-aware training go by them.
"""

import collections
from collections.abc import Callable, Iterator
from typing import Any

from ft_tf import checks
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError

PRECISIONS = ("float32", "mixed_bfloat16")

FMNIST_SHAPE = (28, 28, 1)
CIFAR10_SHAPE = (32, 32, 3)
CIRCLES_SHAPE = (2,)

# Filters, kernel size, stride: the nine convolutions of Table 2's first column.
_CIFAR10_CONVOLUTIONS = (
    (32, 3, 1), (32, 4, 2), (32, 3, 1), (64, 3, 2), (64, 3, 1),
    (128, 3, 2), (128, 3, 1), (256, 3, 2), (256, 3, 1),
)  # fmt: skip


@keras.saving.register_keras_serializable("ft_tf")
class CountedDropout(keras.layers.Dropout):
    """Dropout whose mask is a function of (seed, number of the call in training).

    The count is a weight, so that it is in checkpoints, and a training that goes on from one drops
    what it would have dropped. Keras's own layer draws from a stream that no checkpoint holds.
    """

    def build(self, input_shape: Any) -> None:
        """Makes the count of calls in training."""
        super().build(input_shape)
        self.calls = self.add_weight(
            "calls",
            shape=(),
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Inputs, in training with dropped entries."""
        if not training:
            return inputs
        number = self.calls.read_value()
        self.calls.assign_add(1)
        return tf.nn.experimental.stateless_dropout(
            inputs, self.rate, seed=[self.seed, number], rng_alg="philox"
        )


class _Builder:
    """Makes seeded layers of one precision; dropout follows each hidden Dense layer if asked."""

    def __init__(self, *, seed: int, precision: str, dropout: float) -> None:
        self._seeds = self._layer_seeds(seed)
        self._precision = precision
        self._dropout = dropout
        self._made: collections.Counter[str] = collections.Counter()

    def _name(self, kind: str) -> str:
        self._made[kind] += 1
        return f"{kind}_{self._made[kind]}"

    @staticmethod
    def _layer_seeds(seed: int) -> Iterator[int]:
        # Seeds of neighbouring runs must not share layers: 1000 is above any layer count here.
        yield from range(1000 * seed, 1000 * (seed + 1))

    def _initializer(self) -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed=next(self._seeds))

    def dense(self, units: int) -> list[keras.layers.Layer]:
        layer = keras.layers.Dense(
            units,
            activation="relu",
            kernel_initializer=self._initializer(),
            dtype=self._precision,
            name=self._name("dense"),
        )
        if not self._dropout:
            return [layer]
        # In float32 also in mixed precision: in bfloat16 the share would be a multiple of 1/128.
        dropout = CountedDropout(
            self._dropout, seed=next(self._seeds), dtype="float32", name=self._name("dropout")
        )
        return [layer, dropout]

    def logits(self, units: int) -> list[keras.layers.Layer]:
        # float32 also in mixed precision: the loss and its gradient start from these.
        return [
            keras.layers.Dense(
                units, kernel_initializer=self._initializer(), dtype="float32", name="logits"
            )
        ]

    def convolution(
        self, filters: int, kernel_size: int, *, strides: int = 1, padding: str
    ) -> list[keras.layers.Layer]:
        return [
            keras.layers.Conv2D(
                filters,
                kernel_size,
                strides=strides,
                padding=padding,
                activation="relu",
                kernel_initializer=self._initializer(),
                dtype=self._precision,
                name=self._name("conv"),
            )
        ]

    def pool(self, *, strides: int) -> list[keras.layers.Layer]:
        return [keras.layers.MaxPool2D(2, strides=strides, dtype=self._precision)]

    def flatten(self) -> list[keras.layers.Layer]:
        return [keras.layers.Flatten(dtype=self._precision)]


def _fmnist_dnn(make: _Builder) -> list[keras.layers.Layer]:
    return [*make.flatten(), *make.dense(512), *make.dense(512), *make.logits(10)]


def _fmnist_cnn_1(make: _Builder) -> list[keras.layers.Layer]:
    return [
        *make.convolution(20, 5, padding="valid"),
        *make.pool(strides=2),
        *make.convolution(50, 5, padding="valid"),
        *make.pool(strides=2),
        *make.flatten(),
        *make.dense(500),
        *make.logits(10),
    ]


def _fmnist_cnn_2(make: _Builder, *, first_strides: int = 1) -> list[keras.layers.Layer]:
    return [
        *make.convolution(16, 8, strides=first_strides, padding="same"),
        *make.pool(strides=1),
        *make.convolution(32, 4, strides=2, padding="valid"),
        *make.pool(strides=1),
        *make.flatten(),
        *make.dense(32),
        *make.logits(10),
    ]


def _fmnist_cnn_2_tutorial(make: _Builder) -> list[keras.layers.Layer]:
    return _fmnist_cnn_2(make, first_strides=2)


def _cifar10_cnn(make: _Builder) -> list[keras.layers.Layer]:
    convolutions = [
        layer
        for filters, kernel_size, strides in _CIFAR10_CONVOLUTIONS
        for layer in make.convolution(filters, kernel_size, strides=strides, padding="same")
    ]
    return [*convolutions, *make.flatten(), *make.dense(512), *make.dense(512), *make.logits(10)]


def _circles_mlp(make: _Builder) -> list[keras.layers.Layer]:
    return [*make.dense(500), *make.logits(1)]


_Layers = Callable[[_Builder], list[keras.layers.Layer]]
_ARCHITECTURES: dict[str, tuple[tuple[int, ...], _Layers]] = {
    "fmnist_dnn": (FMNIST_SHAPE, _fmnist_dnn),
    "fmnist_cnn_1": (FMNIST_SHAPE, _fmnist_cnn_1),
    "fmnist_cnn_2": (FMNIST_SHAPE, _fmnist_cnn_2),
    "fmnist_cnn_2_tutorial": (FMNIST_SHAPE, _fmnist_cnn_2_tutorial),
    "cifar10_cnn": (CIFAR10_SHAPE, _cifar10_cnn),
    "circles_mlp": (CIRCLES_SHAPE, _circles_mlp),
}

NAMES = tuple(_ARCHITECTURES)


def input_shape(name: str) -> tuple[int, ...]:
    """Shape of one input of architecture `name`, without the batch axis."""
    checks.check_choice(NAMES, architecture=name)
    return _ARCHITECTURES[name][0]


def build(
    name: str,
    *,
    seed: int = 0,
    precision: str = "float32",
    dropout: float = 0.0,
    normalization: tuple[float, float] | None = None,
) -> keras.Model:
    """Builds an architecture of the paper, freshly initialised; it gives logits.

    Args:
        name: one of `NAMES`. Parameter counts: fmnist_dnn 669,706; fmnist_cnn_1 431,080;
            fmnist_cnn_2 133,530 as printed; fmnist_cnn_2_tutorial, whose first stride is 2;
            cifar10_cnn 1,981,258; circles_mlp 2,001 (one logit, threshold 0).
        seed: fixes the initial weights (Glorot uniform kernels, zero biases).
        precision: "float32", or "mixed_bfloat16" (float32 weights and logits).
        dropout: share of hidden Dense units dropped in training; 0 adds no layer.
        normalization: (mean, std): the model first maps pixels x to (x - mean) / std.

    Raises:
        ArgumentError: an argument is out of range.

    >>> build("fmnist_dnn").count_params()
    669706
    """
    shape = input_shape(name)
    checks.check_non_negative_integer(seed=seed)
    checks.check_choice(PRECISIONS, precision=precision)
    checks.check_fraction(dropout=dropout)
    if dropout == 1:
        raise ArgumentError(f"dropout={dropout} must be below 1: nothing would be left")
    make = _Builder(seed=seed, precision=precision, dropout=dropout)
    layers: list[keras.layers.Layer] = [keras.Input(shape)]
    if normalization is not None:
        mean, std = normalization
        checks.check_positive(normalization_std=std)
        layers.append(keras.layers.Rescaling(1 / std, offset=-mean / std))
    return keras.Sequential([*layers, *_ARCHITECTURES[name][1](make)], name=name)
