"""`benchmark gpu`: is it right on this device, and how fast? Under five minutes on one GPU.

Nothing in it needs a GPU: where there is none, the same figures are those of the processor.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks import faults as fault_times
from experiments.benchmarks import peers, timer
from ft_tf import _compat, architectures, checks, faults
from ft_tf._compat import keras, tf
from ft_tf.attacks import kl_attack
from ft_tf.training import DPSGDModel

TRAININGS = (
    ("plain", "fmnist_dnn", 250), ("dpsgd", "fmnist_dnn", 250), ("trades", "fmnist_dnn", 128),
    ("trades_bfloat16", "fmnist_dnn", 128), ("plain", "fmnist_cnn_1", 250),
    ("dpsgd", "fmnist_cnn_1", 250), ("plain", "resnet_8", 250), ("dpsgd", "resnet_8", 250),
    ("plain", "cifar10_cnn", 250), ("dpsgd", "cifar10_cnn", 250), ("trades", "cifar10_cnn", 128),
    ("trades_bfloat16", "cifar10_cnn", 128),
)  # fmt: skip
FAULTS = ("fmnist_cnn_1", "cifar10_cnn")
EXAMPLES, CLIP, SIGMA = 64, 0.5, 4.0
_ERROR = 1e-4
_DEVIATIONS = 5.0
"""Standard errors that noise may be off."""


def run(
    *,
    rounds: int = 3,
    seconds: float = 2.0,
    data_dir: str | None = None,
    trainings: tuple[tuple[str, str, int], ...] = TRAININGS,
    faulty: tuple[str, ...] = FAULTS,
) -> list[dict[str, Any]]:
    """Checks the engines on this device, then times them.

    Args:
        rounds: measurements of each time.
        seconds: about the length of a measurement.
        data_dir: TFDS directory, for the fault trials.
        trainings: (work of `peers.trainer`, architecture, batch size).
        faulty: architectures whose fault trials are timed.

    Returns:
        A row with the device; a row for each check: check, value, limit, passed; a row for each
        training: work, architecture, batch_size, examples_per_second, low, high; and the rows of
        `benchmark faults`.
    """
    checks.check_positive_integer(rounds=rounds)
    checks.check_positive(seconds=seconds)
    devices = ", ".join(_compat.accelerators()) or _compat.processor()
    rows: list[dict[str, Any]] = [{"device": devices, "tensorflow": tf.__version__}]
    fast_math = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        for name, check in CHECKS.items():
            value, limit = check()
            passed = "yes" if value <= limit else "NO"
            rows.append({"check": name, "value": value, "limit": limit, "passed": passed})
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(fast_math)
    for work, architecture, batch_size in trainings:
        rate = timer.in_turn({work: peers.ours(work, architecture, batch_size, seconds)}, rounds)[
            work
        ]
        row = {"work": work, "architecture": architecture, "batch_size": batch_size}
        row |= {"examples_per_second": rate.median, "low": rate.low, "high": rate.high}
        rows.append(row)
    for architecture in faulty:
        rows += fault_times.run(architecture=architecture, rounds=rounds, data_dir=data_dir)
    return rows


def _examples() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.Generator(np.random.Philox(5))
    x = draw.random((EXAMPLES, *architectures.FMNIST_SHAPE), dtype=np.float32)
    return x, draw.integers(0, 10, EXAMPLES)


def _loss() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _update(sigma: float) -> np.ndarray:
    """What one DP-SGD step on all examples at learning rate 1 takes from the weights, times n."""
    model = architectures.build("fmnist_cnn_1")
    before = model.get_weights()
    private = DPSGDModel(model, l2_norm_clip=CLIP, noise_multiplier=sigma, sampling="shuffle")
    private.compile(keras.optimizers.SGD(1.0), _loss())
    private.fit(*_examples(), batch_size=EXAMPLES, epochs=1, verbose=0)
    taken = [a - b for a, b in zip(before, model.get_weights(), strict=True)]
    return EXAMPLES * np.concatenate([value.ravel() for value in taken]).astype(np.float64)


def clipped_sum() -> tuple[float, float]:
    """Relative error of the clipped sum against one example at a time, on the processor."""
    x, y = _examples()
    total: np.ndarray | float = 0.0
    with tf.device("/CPU:0"):
        model = architectures.build("fmnist_cnn_1")
        for image, label in zip(x, y, strict=True):
            with tf.GradientTape() as tape:
                loss = _loss()(label[None], model(image[None]))
            gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
            flat = np.concatenate([part.numpy().ravel() for part in gradients]).astype(np.float64)
            total = total + flat * min(1.0, CLIP / np.linalg.norm(flat))
    return float(np.linalg.norm(_update(0.0) - total) / np.linalg.norm(total)), _ERROR


@functools.cache
def _noise() -> np.ndarray:
    """Noise of one step, in units of its standard deviation."""
    return (_update(SIGMA) - _update(0.0)) / (SIGMA * CLIP)


def noise_mean() -> tuple[float, float]:
    """Standard errors between the noise's mean and 0."""
    return float(abs(_noise().mean()) * np.sqrt(_noise().size)), _DEVIATIONS


def noise_deviation() -> tuple[float, float]:
    """Standard errors between the noise's variance and (sigma C)^2."""
    return float(abs(np.mean(_noise() ** 2) - 1) * np.sqrt(_noise().size / 2)), _DEVIATIONS


def attack_points() -> tuple[float, float]:
    """Share of pixels that TRADES's attack moves elsewhere than the processor does.

    Where a gradient is all but 0 its sign is decided by rounding.
    """
    x, _ = _examples()
    noise = 1e-3 * np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)

    def points() -> np.ndarray:
        model = architectures.build("fmnist_cnn_1")
        attack = {name: peers.ATTACK[name] for name in ("epsilon", "step_size", "num_steps")}
        found = kl_attack(
            model, tf.constant(x), model(x), distance="l_inf", bounds=(0.0, 1.0),
            start_noise=tf.constant(noise), **attack,
        )  # fmt: skip
        return found.numpy()

    with tf.device("/CPU:0"):
        expected = points()
    return float(np.mean(np.abs(points() - expected) > 1e-3)), 0.01


def faults_by_batch() -> tuple[float, float]:
    """Largest difference of a trial's accuracy between batches of 16 and of 64 images."""
    model, (x, y) = architectures.build("fmnist_cnn_1"), _examples()
    settings = {"target": "weights", "rates": [0.0, 0.1, 0.5], "trials": 5, "seed": 0}
    small, large = (
        faults.sweep(model, x, y, batch_size=size, **settings)["accuracy"].to_numpy()
        for size in (16, 64)
    )
    return float(np.abs(small - large).max()), 0.0


def weights_come_back() -> tuple[float, float]:
    """Number of weights that a campaign of bit errors leaves changed."""
    model, (x, y) = architectures.build("fmnist_cnn_1"), _examples()
    before = model.get_weights()
    faults.sweep(
        model, x, y, target="weights", rates=[0.01], trials=3, seed=0,
        fault=faults.BitErrors("float32"),
    )  # fmt: skip
    changed = [np.sum(a.view(np.uint32) != b.view(np.uint32))
               for a, b in zip(before, model.get_weights(), strict=True)]  # fmt: skip
    return float(sum(changed)), 0.0


CHECKS: dict[str, Callable[[], tuple[float, float]]] = {
    "clipped sum, relative error": clipped_sum,
    "noise, mean": noise_mean,
    "noise, variance": noise_deviation,
    "TRADES points elsewhere": attack_points,
    "faults by batch size": faults_by_batch,
    "weights changed after faults": weights_come_back,
}
"""Each gives a value and the most that it may be."""
