"""The paper's architectures (Table 2) and the circles network (section 4.1), by name.

Every model gives logits. Layers are seeded one by one, so a name and a seed fix all weights. Their
names are fixed as well: Keras's own would count on with every model that the process builds, and
records and the faults of fault-aware training go by them. `register` adds further architectures.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from ft_tf import checks
from ft_tf._compat import fresh_layer_names, keras, tf
from ft_tf.errors import ArgumentError

PRECISIONS = ("float32", "mixed_bfloat16")

FMNIST_SHAPE = (28, 28, 1)
CIFAR10_SHAPE = (32, 32, 3)
CIRCLES_SHAPE = (2,)

Shape = tuple[int, ...]

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
            name="calls",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Inputs, in training with dropped entries."""
        if not training:
            return inputs
        number = tf.identity(self.calls.value)
        self.calls.assign(number + 1)
        return tf.nn.experimental.stateless_dropout(
            inputs, self.rate, seed=[self.seed, number], rng_alg="philox"
        )


class LayerMaker:
    """Makes seeded layers of one precision; dropout follows each hidden Dense layer if asked.

    Every method returns a list of layers. A builder that makes Keras layers itself takes
    `initializer()` for their kernels, so that the seed fixes them.

    Attributes:
        classes: number of classes to tell apart.
        input_shape: shape of one input.
    """

    def __init__(
        self, *, seed: int, precision: str, dropout: float, classes: int, input_shape: Shape
    ) -> None:
        self.classes = classes
        self.input_shape = input_shape
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

    def initializer(self) -> keras.initializers.Initializer:
        """Returns Glorot's uniform initializer with the next seed."""
        return keras.initializers.GlorotUniform(seed=next(self._seeds))

    def dense(self, units: int) -> list[keras.layers.Layer]:
        """Returns a hidden Dense layer with ReLU, and its dropout if there is any."""
        layer = keras.layers.Dense(
            units,
            activation="relu",
            kernel_initializer=self.initializer(),
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

    def logits(self, units: int | None = None) -> list[keras.layers.Layer]:
        """Returns the linear output layer, by default with one unit for each class."""
        # float32 also in mixed precision: the loss and its gradient start from these.
        return [
            keras.layers.Dense(
                units or self.classes,
                kernel_initializer=self.initializer(),
                dtype="float32",
                name="logits",
            )
        ]

    def convolution(
        self,
        filters: int,
        kernel_size: int,
        *,
        strides: int = 1,
        padding: str,
        batch_norm: bool = False,
    ) -> list[keras.layers.Layer]:
        """Returns a convolution with square kernels and ReLU; batch_norm replaces its biases."""
        convolution = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            activation=None if batch_norm else "relu",
            use_bias=not batch_norm,
            kernel_initializer=self.initializer(),
            dtype=self._precision,
            name=self._name("conv"),
        )
        if not batch_norm:
            return [convolution]
        options = {"dtype": self._precision}
        norm = keras.layers.BatchNormalization(**options, name=self._name("norm"))
        return [convolution, norm, keras.layers.ReLU(**options)]

    def pool(self, *, strides: int) -> list[keras.layers.Layer]:
        """Returns max pooling over 2 x 2 positions."""
        return [keras.layers.MaxPool2D(2, strides=strides, dtype=self._precision)]

    def flatten(self) -> list[keras.layers.Layer]:
        """Returns a Flatten layer."""
        return [keras.layers.Flatten(dtype=self._precision)]


def _fmnist_dnn(make: LayerMaker, *, width: int = 512) -> list[keras.layers.Layer]:
    return [*make.flatten(), *make.dense(width), *make.dense(width), *make.logits()]


def _fmnist_dnn_256(make: LayerMaker) -> list[keras.layers.Layer]:
    return _fmnist_dnn(make, width=256)


def _fmnist_cnn_1(make: LayerMaker) -> list[keras.layers.Layer]:
    return [
        *make.convolution(20, 5, padding="valid"),
        *make.pool(strides=2),
        *make.convolution(50, 5, padding="valid"),
        *make.pool(strides=2),
        *make.flatten(),
        *make.dense(500),
        *make.logits(),
    ]


def _fmnist_cnn_2(make: LayerMaker, *, first_strides: int = 1) -> list[keras.layers.Layer]:
    return [
        *make.convolution(16, 8, strides=first_strides, padding="same"),
        *make.pool(strides=1),
        *make.convolution(32, 4, strides=2, padding="valid"),
        *make.pool(strides=1),
        *make.flatten(),
        *make.dense(32),
        *make.logits(),
    ]


def _fmnist_cnn_2_tutorial(make: LayerMaker) -> list[keras.layers.Layer]:
    return _fmnist_cnn_2(make, first_strides=2)


def _cifar10_cnn(make: LayerMaker, **options: bool) -> list[keras.layers.Layer]:
    convolutions = [
        layer
        for filters, size, strides in _CIFAR10_CONVOLUTIONS
        for layer in make.convolution(filters, size, strides=strides, padding="same", **options)
    ]
    return [*convolutions, *make.flatten(), *make.dense(512), *make.dense(512), *make.logits()]


def _cifar10_cnn_bn(make: LayerMaker) -> list[keras.layers.Layer]:
    return _cifar10_cnn(make, batch_norm=True)


def _cifar10_cnn_he(make: LayerMaker) -> list[keras.layers.Layer]:
    """He's initializer, since Glorot's shrinks the signal a hundredfold over nine ReLU layers."""
    layers = _cifar10_cnn(make)
    for layer in layers[:-1]:
        if glorot := getattr(layer, "kernel_initializer", None):
            layer.kernel_initializer = keras.initializers.HeNormal(seed=glorot.seed)
    return layers


def _circles_mlp(make: LayerMaker) -> list[keras.layers.Layer]:
    return [*make.dense(500), *make.logits(1)]


Builder = Callable[[LayerMaker], list[keras.layers.Layer] | keras.Model]
"""Gives the layers after the input, or a whole Keras model, which must end in logits."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network by name.

    Attributes:
        name: of the architecture, and of its models.
        builder: makes its layers.
        input_shape: shape of one input, without the batch axis; None takes images of any shape.
        classes: number of classes that it tells apart unless others are asked for.
        cost: multiply-adds of one example's forward pass, in millions; it only shapes estimates of
            the time left.
    """

    name: str
    builder: Builder
    input_shape: Shape | None
    classes: int = 10
    cost: float = 1.0


_ARCHITECTURES: dict[str, Architecture] = {}


def register(
    name: str,
    builder: Builder,
    *,
    input_shape: Shape | None = None,
    classes: int = 10,
    cost: float = 1.0,
) -> Architecture:
    """Registers an architecture, so that `build`, runs and binaries know it by name.

    Worker processes see it if the call is at the top of a module that they import.

    Args:
        name: an earlier registration of the name is replaced.
        builder: makes the layers; see `LayerMaker`.
        input_shape: as in `Architecture`.
        classes: as in `Architecture`.
        cost: as in `Architecture`.

    >>> tiny = register("tiny", lambda make: make.flatten() + make.logits(), classes=3)
    >>> build("tiny", input_shape=(4, 4, 1)).output_shape
    (None, 3)
    """
    checks.check_positive_integer(classes=classes)
    checks.check_positive(cost=cost)
    _ARCHITECTURES[name] = Architecture(name, builder, input_shape, classes, cost)
    return _ARCHITECTURES[name]


def get(name: str) -> Architecture:
    """Returns the architecture called `name`.

    Raises:
        ArgumentError: it is not registered.
    """
    checks.check_choice(_ARCHITECTURES, architecture=name)
    return _ARCHITECTURES[name]


register("fmnist_dnn", _fmnist_dnn, input_shape=FMNIST_SHAPE, cost=0.7)
register("fmnist_cnn_1", _fmnist_cnn_1, input_shape=FMNIST_SHAPE, cost=2.8)
register("fmnist_cnn_2", _fmnist_cnn_2, input_shape=FMNIST_SHAPE, cost=2.0)
register("fmnist_cnn_2_tutorial", _fmnist_cnn_2_tutorial, input_shape=FMNIST_SHAPE, cost=0.6)
register("cifar10_cnn", _cifar10_cnn, input_shape=CIFAR10_SHAPE, cost=20.0)
register("circles_mlp", _circles_mlp, input_shape=CIRCLES_SHAPE, classes=2)
NAMES = tuple(_ARCHITECTURES)
"""The paper's architectures."""

register("cifar10_cnn_bn", _cifar10_cnn_bn, input_shape=CIFAR10_SHAPE, cost=20.0)
register("cifar10_cnn_he", _cifar10_cnn_he, input_shape=CIFAR10_SHAPE, cost=20.0)
register("fmnist_dnn_256", _fmnist_dnn_256, input_shape=FMNIST_SHAPE, cost=0.4)
register("dnn", _fmnist_dnn)  # for images of any shape


def names() -> tuple[str, ...]:
    """Names of all registered architectures."""
    return tuple(_ARCHITECTURES)


def input_shape(name: str) -> Shape:
    """Shape of one input of architecture `name`, without the batch axis.

    Raises:
        ArgumentError: it is not registered, or takes inputs of any shape.
    """
    shape = get(name).input_shape
    if shape is None:
        raise ArgumentError(f"architecture={name!r} takes images of any shape: give input_shape")
    return shape


def build(
    name: str,
    *,
    seed: int = 0,
    precision: str = "float32",
    dropout: float = 0.0,
    normalization: tuple[float, float] | None = None,
    classes: int | None = None,
    input_shape: Shape | None = None,
) -> keras.Model:
    """Builds a registered architecture, freshly initialised; it gives logits.

    Args:
        name: one of `names()`. Parameter counts: fmnist_dnn 669,706; fmnist_cnn_1 431,080;
            fmnist_cnn_2 133,530 as printed; fmnist_cnn_2_tutorial, whose first stride is 2;
            cifar10_cnn 1,981,258; circles_mlp 2,001 (one logit, threshold 0).
        seed: fixes the initial weights (Glorot uniform kernels, zero biases).
        precision: "float32", or "mixed_bfloat16" (float32 weights and logits).
        dropout: share of hidden Dense units dropped in training; 0 adds no layer.
        normalization: (mean, std): the model first maps pixels x to (x - mean) / std.
        classes: number of classes; by default the architecture's own.
        input_shape: shape of one input, for architectures that take any.

    Raises:
        ArgumentError: an argument is out of range.

    >>> build("fmnist_dnn").count_params()
    669706
    """
    known = get(name)
    if classes is not None:
        checks.check_positive_integer(classes=classes)
    if normalization is not None:
        if not isinstance(normalization, tuple | list) or len(normalization) != 2:
            raise ArgumentError(f"normalization={normalization!r} must be (mean, std)")
        checks.check_finite(normalization_mean=normalization[0])
    shape = known.input_shape or input_shape
    if shape is None:
        raise ArgumentError(f"architecture={name!r} takes images of any shape: give input_shape")
    if input_shape not in (None, shape):
        raise ArgumentError(f"architecture={name!r} takes inputs of shape {shape}: {input_shape=}")
    checks.check_non_negative_integer(seed=seed)
    checks.check_choice(PRECISIONS, precision=precision)
    checks.check_fraction(dropout=dropout)
    if dropout == 1:
        raise ArgumentError(f"dropout={dropout} must be below 1: nothing would be left")
    make = LayerMaker(
        seed=seed,
        precision=precision,
        dropout=dropout,
        classes=classes or known.classes,
        input_shape=shape,
    )
    with fresh_layer_names():
        made = known.builder(make)
    if isinstance(made, keras.Model):
        model = made
        if normalization is not None:
            raise ArgumentError(f"architecture={name!r} is a whole model: it cannot be normalised")
    else:
        layers: list[keras.layers.Layer] = [keras.Input(shape)]
        if normalization is not None:
            mean, std = normalization
            checks.check_positive(normalization_std=std)
            layers.append(keras.layers.Rescaling(1 / std, offset=-mean / std))
        model = keras.Sequential([*layers, *made], name=name)
    if classes is not None and model.output_shape != (None, classes):
        raise ArgumentError(
            f"architecture={name!r} has outputs of shape {model.output_shape[1:]}, not a logit for "
            f"each of {classes} classes: its builder must end in make.logits()"
        )
    return model
