"""The frozen configuration of a run: everything that its record depends on, checked at once."""

import dataclasses
import json
from typing import Any, ClassVar

from ft_tf import architectures, checks
from ft_tf.errors import ArgumentError
from ft_tf.faults.storage_formats import format_of

OPTIMIZERS = ("sgd", "adam")
DEFAULT_DELTA = 1e-5


@dataclasses.dataclass(frozen=True)
class Natural:
    """Plain cross-entropy training."""

    name: ClassVar[str] = "natural"
    tag: ClassVar[str] = ""


@dataclasses.dataclass(frozen=True)
class Tikhonov:
    """L2 on kernels: the loss gains l2 * sum of squared kernel entries."""

    name: ClassVar[str] = "tikhonov"
    l2: float = 1e-4

    def __post_init__(self) -> None:
        checks.check_non_negative(l2=self.l2)

    @property
    def tag(self) -> str:
        """The part of a run's name that tells it from other runs of the algorithm."""
        return f"-l2_{self.l2:g}"


@dataclasses.dataclass(frozen=True)
class _GaussianNoise:
    sigma: float = 0.1

    def __post_init__(self) -> None:
        checks.check_non_negative(sigma=self.sigma)

    @property
    def tag(self) -> str:
        """The part of a run's name that tells it from other runs of the algorithm."""
        return f"-sigma_{self.sigma:g}"


@dataclasses.dataclass(frozen=True)
class AdditiveGaussian(_GaussianNoise):
    """Trains on x + sigma N(0, 1), drawn anew at each step."""

    name: ClassVar[str] = "additive_gaussian"


@dataclasses.dataclass(frozen=True)
class MultiplicativeGaussian(_GaussianNoise):
    """Trains on x (1 + sigma N(0, 1)), drawn anew at each step."""

    name: ClassVar[str] = "multiplicative_gaussian"


@dataclasses.dataclass(frozen=True)
class JacobianPenalty(_GaussianNoise):
    """Adds Bishop's penalty of N(0, sigma^2) input noise: what that noise is equivalent to."""

    name: ClassVar[str] = "jacobian_penalty"


@dataclasses.dataclass(frozen=True)
class Trades:
    """TRADES (equation 6): cross-entropy plus beta times the KL term on attacked inputs.

    Attributes:
        epsilon: radius of the ball, in pixels of [0, 1].
        step_size: length of one attack step (l_inf only; l_2 steps 2 epsilon / num_steps).
        num_steps: attack steps.
        beta: weight of the KL term.
        distance: "l_inf" or "l_2".
        normalized_example: the TRADES authors' MNIST example, which attacks in normalised space;
            epsilon and step_size are then in that space's units, as in their script.
    """

    name: ClassVar[str] = "trades"
    epsilon: float = 0.1
    step_size: float = 0.02
    num_steps: int = 10
    beta: float = 1.0
    distance: str = "l_inf"
    normalized_example: bool = False

    def __post_init__(self) -> None:
        checks.check_choice(("l_inf", "l_2"), distance=self.distance)
        checks.check_non_negative(epsilon=self.epsilon, step_size=self.step_size, beta=self.beta)
        if not self.normalized_example:
            checks.check_radius(distance=self.distance, epsilon=self.epsilon)
        checks.check_positive_integer(num_steps=self.num_steps)

    @property
    def tag(self) -> str:
        """The part of a run's name that tells it from other runs of the algorithm."""
        space = "-normalized" if self.normalized_example else ""
        return f"-epsilon_{self.epsilon:.4g}-beta_{self.beta:g}{space}"


@dataclasses.dataclass(frozen=True)
class DPSGD:
    """DP-SGD: per-example clipping and Gaussian noise (the paper's Algorithm 2).

    Attributes:
        l2_norm_clip: C, the greatest l2 norm of one example's gradient.
        noise_multiplier: sigma; the noise's standard deviation is sigma C.
        sampling: "poisson", or "shuffle" for the original practice.
        noise_seed: fixes batches and noise for replication; None draws a secret. The record
            publishes it, so such a run is private for nobody who reads the record.
        engine: "fast", or "reference" for TF Privacy's DPKerasSGDOptimizer.
        delta: failure probability at which epsilon is stated.
    """

    name: ClassVar[str] = "dpsgd"
    l2_norm_clip: float = 1.0
    noise_multiplier: float = 1.1
    sampling: str = "poisson"
    noise_seed: int | None = None
    engine: str = "fast"
    delta: float = DEFAULT_DELTA

    def __post_init__(self) -> None:
        checks.check_positive(l2_norm_clip=self.l2_norm_clip)
        checks.check_non_negative(noise_multiplier=self.noise_multiplier)
        checks.check_choice(("poisson", "shuffle"), sampling=self.sampling)
        checks.check_choice(("fast", "reference"), engine=self.engine)
        checks.check_probability(delta=self.delta)
        if self.noise_seed is not None:
            checks.check_non_negative_integer(noise_seed=self.noise_seed)
        if self.engine == "reference" and self.sampling == "poisson":
            raise ArgumentError(
                "engine='reference' cannot draw Poisson batches: use sampling='shuffle'"
            )
        if self.engine == "reference" and self.noise_seed is not None and self.noise_multiplier > 0:
            raise ArgumentError(
                f"noise_seed={self.noise_seed} cannot fix the noise of engine='reference', which "
                "draws its own: leave it out, or use noise_multiplier=0"
            )

    @property
    def tag(self) -> str:
        """The part of a run's name that tells it from other runs of the algorithm."""
        engine = "-reference" if self.engine == "reference" else ""
        shuffle = "-shuffle" if self.sampling == "shuffle" else ""
        return f"-sigma_{self.noise_multiplier:g}-clip_{self.l2_norm_clip:g}{shuffle}{engine}"


Algorithm = (
    Natural
    | Tikhonov
    | AdditiveGaussian
    | MultiplicativeGaussian
    | JacobianPenalty
    | Trades
    | DPSGD
)
ALGORITHMS: dict[str, type[Algorithm]] = {cls.name: cls for cls in Algorithm.__args__}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is measured after training.

    Attributes:
        batch_size: images per forward pass; results depend on it in the last bits.
        fault_targets: "weights" and "units", or fewer.
        fault_rates: rates of stuck-at-0 faults.
        fault_trials: independent fault sets per rate.
        fault_images: test images of each fault set, a random subset; 0 for all.
        fault_seed: fixes the fault sets.
        layer_rate: also put faults into one layer at a time, at this rate; 0 for none.
        attacks: of "fgsm", "pgd" and "apgd"; the first also on training images.
        attack_epsilon: radius of the attacks' l_inf ball.
        attack_steps: steps of PGD.
        apgd_steps: steps of each run of Auto-PGD.
        attack_images: attacks take the first so many test and training images, or all there are.
        attack_sanity: also run the checks that doubt the first attack's result.
        membership: also tell training from test images by their losses.
        rescaling: also move the parameters' spread by a rescaling that changes no prediction.
        curve: measure train and test accuracy after every epoch (Figure 1).
        bit_error_formats: also put bit errors into the weights as these storage formats hold them.
        bit_error_rates: their rates per bit, besides 0.
    """

    batch_size: int = 1000
    fault_targets: tuple[str, ...] = ("weights", "units")
    fault_rates: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    fault_trials: int = 5
    fault_images: int = 0
    fault_seed: int = 0
    layer_rate: float = 0.0
    attacks: tuple[str, ...] = ()
    attack_epsilon: float = 0.1
    attack_steps: int = 20
    apgd_steps: int = 100
    attack_images: int = 1000
    attack_sanity: bool = True
    membership: bool = False
    rescaling: bool = False
    curve: bool = False
    bit_error_formats: tuple[str, ...] = ()
    bit_error_rates: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)

    def __post_init__(self) -> None:
        checks.check_positive_integer(
            batch_size=self.batch_size,
            fault_trials=self.fault_trials,
            attack_steps=self.attack_steps,
            apgd_steps=self.apgd_steps,
            attack_images=self.attack_images,
        )
        checks.check_non_negative_integer(
            fault_images=self.fault_images, fault_seed=self.fault_seed
        )
        checks.check_fraction(layer_rate=self.layer_rate)
        for target in self.fault_targets:
            checks.check_choice(("weights", "units"), fault_target=target)
        for rate in self.fault_rates:
            checks.check_fraction(fault_rate=rate)
        for attack in self.attacks:
            checks.check_choice(("fgsm", "pgd", "apgd"), attack=attack)
        for storage in self.bit_error_formats:
            format_of(storage)
        for rate in self.bit_error_rates:
            checks.check_fraction(bit_error_rate=rate)
        checks.check_radius(distance="l_inf", attack_epsilon=self.attack_epsilon)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One training and its evaluation.

    Attributes:
        dataset: "fashion_mnist" or "cifar10".
        architecture: a name of `ft_tf.architectures.NAMES`.
        algorithm: one of the algorithm configurations of this module.
        epochs: passes over the training data.
        batch_size: examples per step (expected examples under Poisson sampling).
        learning_rate: of the optimizer.
        learning_rate_drops: (epoch, factor) pairs: from that epoch on the rate is times factor.
        optimizer: "sgd" or "adam".
        momentum: of SGD.
        weight_decay: added to each gradient as weight_decay * w (outside DP's clipping).
        seed: initial weights, data order, input noise, attacks.
        augment: random crop and flip of training images.
        precision: "float32" or "mixed_bfloat16".
        dropout: share of hidden Dense units dropped in training.
        fault_aware_rate: share of sites stuck at 0 in training, drawn anew at each step.
        fault_aware_target: "weights" or "units": what is faulty in such a training.
        train_limit: train on the first so many examples only; 0 for all.
        test_limit: test on the first so many examples only; 0 for all.
        stop_at_test_accuracy: stop training as soon as this is reached, so that models can be
            compared at equal accuracy; 0 for never.
        evaluation: what is measured afterwards.
        label: tells apart runs that otherwise would have one name, such as a preset.
        rows: ids of the paper's rows that the run is meant for.
        fitted: a setting was chosen so that the training accuracy comes near the paper's; such a
            run does not count as agreement.
        deviations: what differs from the paper's setting, in words.
    """

    dataset: str
    architecture: str
    algorithm: Algorithm = Natural()
    epochs: int = 10
    batch_size: int = 250
    learning_rate: float = 0.1
    learning_rate_drops: tuple[tuple[int, float], ...] = ()
    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    seed: int = 0
    augment: bool = False
    precision: str = "float32"
    dropout: float = 0.0
    fault_aware_rate: float = 0.0
    fault_aware_target: str = "units"
    train_limit: int = 0
    test_limit: int = 0
    stop_at_test_accuracy: float = 0.0
    evaluation: Evaluation = Evaluation()
    label: str = ""
    rows: tuple[str, ...] = ()
    fitted: bool = False
    deviations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks.check_choice(("fashion_mnist", "cifar10"), dataset=self.dataset)
        checks.check_choice(architectures.NAMES, architecture=self.architecture)
        expected = {
            "fashion_mnist": architectures.FMNIST_SHAPE,
            "cifar10": architectures.CIFAR10_SHAPE,
        }[self.dataset]
        if architectures.input_shape(self.architecture) != expected:
            raise ArgumentError(
                f"architecture={self.architecture!r} does not take the images of "
                f"dataset={self.dataset!r}"
            )
        checks.check_positive_integer(epochs=self.epochs, batch_size=self.batch_size)
        checks.check_positive(learning_rate=self.learning_rate)
        checks.check_choice(OPTIMIZERS, optimizer=self.optimizer)
        checks.check_non_negative(momentum=self.momentum, weight_decay=self.weight_decay)
        checks.check_non_negative_integer(
            seed=self.seed, train_limit=self.train_limit, test_limit=self.test_limit
        )
        checks.check_choice(architectures.PRECISIONS, precision=self.precision)
        checks.check_fraction(
            dropout=self.dropout,
            fault_aware_rate=self.fault_aware_rate,
            stop_at_test_accuracy=self.stop_at_test_accuracy,
        )
        if self.dropout == 1:
            raise ArgumentError(f"dropout={self.dropout} must be below 1: nothing would be left")
        checks.check_choice(("weights", "units"), fault_aware_target=self.fault_aware_target)
        if isinstance(self.algorithm, DPSGD):
            self._check_private(self.algorithm)
        if self.augment and self.dataset != "cifar10":
            raise ArgumentError(f"augment=True is for cifar10, not dataset={self.dataset!r}")
        if self.optimizer == "adam" and self.momentum:
            raise ArgumentError(f"momentum={self.momentum!r} is for optimizer='sgd'")

    def _check_private(self, algorithm: DPSGD) -> None:
        for name, value in (
            ("fault_aware_rate", self.fault_aware_rate),
            ("augment", self.augment),
        ):
            if value:
                raise ArgumentError(f"{name}={value!r} cannot be used with algorithm='dpsgd'")
        if algorithm.engine != "reference":
            return
        if self.weight_decay:
            raise ArgumentError(f"weight_decay={self.weight_decay!r} needs engine='fast'")
        if self.optimizer != "sgd":
            raise ArgumentError(
                f"optimizer={self.optimizer!r} must be 'sgd' with engine='reference'"
            )

    def name(self, *, is_sample: bool) -> str:
        """A name that a person recognises, for the run's directory."""
        dataset = f"{self.dataset}_sample" if is_sample else self.dataset
        if self.train_limit:
            dataset += f"_{self.train_limit}"
        parts = [dataset, self.architecture, f"{self.algorithm.name}{self.algorithm.tag}"]
        parts += [f"dropout_{self.dropout:g}"] * bool(self.dropout)
        parts += ["augmented"] * self.augment
        parts += [self.precision] * (self.precision != "float32")
        if self.fault_aware_rate:
            parts.append(f"faulty_{self.fault_aware_target}_{self.fault_aware_rate:g}")
        if self.stop_at_test_accuracy:
            parts.append(f"stopped_at_{self.stop_at_test_accuracy:.4f}")
        parts += [self.label] * bool(self.label)
        return "-".join([*parts, f"epochs_{self.epochs}", f"seed_{self.seed}"])


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as JSON has it; `algorithm` carries its name beside its options."""
    fields = dataclasses.asdict(config)
    fields["algorithm"] = {"name": config.algorithm.name, **fields["algorithm"]}
    if not config.evaluation.bit_error_formats:  # directories of runs from before bit errors stay
        del fields["evaluation"]["bit_error_formats"], fields["evaluation"]["bit_error_rates"]
    return json.loads(json.dumps(fields))


def from_dict(fields: dict[str, Any]) -> RunConfig:
    """The inverse of `to_dict`.

    Raises:
        ArgumentError: a key is not known or a value is not allowed.
    """
    fields = dict(fields)
    try:
        algorithm = dict(fields.pop("algorithm"))
        name = algorithm.pop("name")
        checks.check_choice(ALGORITHMS, algorithm=name)
        evaluation = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in fields.pop("evaluation").items()
        }
        drops = tuple(
            (int(epoch), float(factor)) for epoch, factor in fields.pop("learning_rate_drops", ())
        )
        return RunConfig(
            algorithm=ALGORITHMS[name](**algorithm),
            evaluation=Evaluation(**evaluation),
            learning_rate_drops=drops,
            **{
                key: tuple(value) if isinstance(value, list) else value
                for key, value in fields.items()
            },
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ArgumentError(f"config cannot be read: {error}") from None
