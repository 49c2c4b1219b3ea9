"""The frozen configuration of a run: everything that its record depends on, checked at once."""

import dataclasses
import json
from typing import Any

from ft_tf import architectures, checks
from ft_tf.errors import ArgumentError
from ft_tf.faults import catalogue
from ft_tf.faults.storage_formats import format_of
from ft_tf.study import algorithms, datasets
from ft_tf.study.algorithms import Algorithm, Natural

OPTIMIZERS = ("sgd", "adam")
TARGETS = ("weights", "units")
ATTACKS = ("fgsm", "pgd", "apgd", "fab", "square", "autoattack")
_NATURAL = Natural()


def _added(default: Any) -> Any:
    """A field that older records lack: `to_dict` leaves it out while it is at its default."""
    return dataclasses.field(default=default, metadata={"added": True})


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is measured after training.

    Attributes:
        batch_size: images per forward pass; results depend on it in the last bits.
        fault_targets: weights and units, or one of them.
        fault: fault model: stuck_at_0, or another that needs no options.
        fault_rates: shares of faulty sites.
        fault_trials: independent fault sets per rate.
        fault_images: test images of each fault set, a random subset; 0 for all.
        fault_seed: fixes the fault sets.
        layer_rate: also put faults into one layer at a time, at this rate; 0 for none.
        attacks: of fgsm, pgd, apgd, fab, square and autoattack; the first also on training images.
        attack_epsilon: radius of the attacks' l_inf ball.
        attack_steps: steps of PGD.
        apgd_steps: steps of each run of Auto-PGD.
        attack_images: number of test and of training images to attack, or all if there are fewer.
        attack_sanity: also run the sanity checks of the first attack's result.
        membership: also tell training from test images by their losses.
        rescaling: also move the parameters' spread by a rescaling that changes no prediction.
        curve: measure train and test accuracy after every epoch (Figure 1); trades also keeps its
            most robust epoch, chosen on 500 test images that the attack does not take.
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
    fault: str = _added("stuck_at_0")
    bit_error_formats: tuple[str, ...] = _added(())
    bit_error_rates: tuple[float, ...] = _added((1e-6, 1e-5, 1e-4, 1e-3, 1e-2))

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
            checks.check_choice(TARGETS, fault_target=target)
        for rate in self.fault_rates:
            checks.check_fraction(fault_rate=rate)
        for attack in self.attacks:
            checks.check_choice(ATTACKS, attack=attack)
        for storage in self.bit_error_formats:
            format_of(storage)
        for rate in self.bit_error_rates:
            checks.check_fraction(bit_error_rate=rate)
        checks.check_radius(distance="l_inf", attack_epsilon=self.attack_epsilon)
        catalogue.named(self.fault, {})


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One training and its evaluation.

    Attributes:
        dataset: a name of `ft_tf.study.datasets`.
        architecture: a name of `ft_tf.architectures`.
        algorithm: one of `ft_tf.study.algorithms`.
        epochs: passes over the training data.
        batch_size: examples per step (expected examples for dpsgd).
        learning_rate: learning rate. The default is for SGD without momentum; take a tenth of it
            with momentum 0.9, a hundredth with adam.
        learning_rate_drops: (epoch, factor) pairs: from that epoch on the rate is times factor.
        optimizer: sgd or adam.
        momentum: momentum of SGD.
        weight_decay: adds weight_decay * w to each gradient, outside DP-SGD's clipping.
        seed: fixes initial weights, data order, input noise and attacks.
        augment: random crop and flip of training images (cifar10).
        precision: float32, or mixed_bfloat16: faster where the processor computes in it.
            Evaluation is in float32.
        dropout: share of hidden Dense units dropped in training.
        fault_aware_rate: share of sites stuck at 0 in training, resampled at every step.
        fault_aware_target: weights or units: what is faulty in such a training.
        train_limit: number of training examples to use, the first ones; 0 for all.
        test_limit: number of test examples to use, the first ones; 0 for all.
        holdout: number of training examples, the last ones, that are not trained on but measured.
        stop_at_holdout_accuracy: stop training as soon as the accuracy on the held-out examples
            reaches this, so that models can be compared at equal accuracy; 0 for never.
        stop_at_test_accuracy: of older records, whose trainings stopped on test images; such runs
            can be read, but not trained.
        evaluation: what is measured afterwards.
        label: tells apart runs that otherwise would have one name, such as a preset.
        rows: ids of the paper's rows that the run is meant for.
        fitted: a setting was chosen so that the training accuracy comes near the paper's; such a
            run does not count as agreement.
        deviations: what differs from the paper's setting, as text.
    """

    dataset: str
    architecture: str
    algorithm: Algorithm = _NATURAL
    epochs: int = 10
    batch_size: int = 250
    learning_rate: float = 0.15
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
    holdout: int = _added(0)
    stop_at_holdout_accuracy: float = _added(0.0)

    def __post_init__(self) -> None:
        checks.check_type(Algorithm, algorithm=self.algorithm)
        source = datasets.get(self.dataset)
        if architectures.get(self.architecture).input_shape not in (None, source.shape):
            raise ArgumentError(
                f"architecture={self.architecture!r} does not take the images of "
                f"dataset={self.dataset!r}"
            )
        checks.check_positive_integer(epochs=self.epochs, batch_size=self.batch_size)
        checks.check_positive(learning_rate=self.learning_rate)
        checks.check_choice(OPTIMIZERS, optimizer=self.optimizer)
        checks.check_non_negative(momentum=self.momentum, weight_decay=self.weight_decay)
        checks.check_non_negative_integer(
            seed=self.seed,
            train_limit=self.train_limit,
            test_limit=self.test_limit,
            holdout=self.holdout,
        )
        checks.check_choice(architectures.PRECISIONS, precision=self.precision)
        checks.check_fraction(
            dropout=self.dropout,
            fault_aware_rate=self.fault_aware_rate,
            stop_at_test_accuracy=self.stop_at_test_accuracy,
            stop_at_holdout_accuracy=self.stop_at_holdout_accuracy,
        )
        if self.dropout == 1:
            raise ArgumentError(f"dropout={self.dropout} must be below 1: nothing would be left")
        checks.check_choice(TARGETS, fault_aware_target=self.fault_aware_target)
        self.algorithm.check(self)
        if self.augment and not source.may_augment:
            raise ArgumentError(
                f"augment=True cannot be used with dataset={self.dataset!r}: crops and flips may "
                "change an image's class"
            )
        if self.optimizer == "adam" and self.momentum:
            raise ArgumentError(f"momentum={self.momentum!r} is for optimizer='sgd'")
        if self.stop_at_holdout_accuracy and not self.holdout:
            raise ArgumentError(
                f"stop_at_holdout_accuracy={self.stop_at_holdout_accuracy!r} needs holdout > 0"
            )

    def name(self, *, is_sample: bool) -> str:
        """Returns a readable name for the run's directory."""
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
        parts += [f"holdout_{self.holdout}"] * bool(self.holdout)
        if self.stop_at_holdout_accuracy:
            parts.append(f"stopped_at_holdout_{self.stop_at_holdout_accuracy:.4f}")
        parts += [self.label] * bool(self.label)
        return "-".join([*parts, f"epochs_{self.epochs}", f"seed_{self.seed}"])


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Returns the configuration as JSON values; `algorithm` carries its name with its options.

    Fields that older records lack are left out while they are at their defaults, so that an equal
    configuration has equal JSON.
    """
    fields = _known_to_older_records(config)
    fields["algorithm"] = {
        "name": config.algorithm.name,
        **_known_to_older_records(config.algorithm),
    }
    fields["evaluation"] = _known_to_older_records(config.evaluation)
    return json.loads(json.dumps(fields))


def _known_to_older_records(values: Any) -> dict[str, Any]:
    return {
        field.name: getattr(values, field.name)
        for field in dataclasses.fields(values)
        if not field.metadata.get("added") or getattr(values, field.name) != field.default
    }


def from_dict(fields: dict[str, Any]) -> RunConfig:
    """Returns the configuration of `to_dict`'s values.

    Raises:
        ArgumentError: a key is not known or a value is not allowed.
    """
    fields = dict(fields)
    try:
        algorithm = algorithms.from_dict(fields.pop("algorithm"))
        evaluation = Evaluation(**_with_tuples(fields.pop("evaluation")))
        return RunConfig(algorithm=algorithm, evaluation=evaluation, **_with_tuples(fields))
    except (KeyError, TypeError, AttributeError) as error:
        raise ArgumentError(f"config cannot be read: {error}") from None


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: _as_tuple(value) for key, value in fields.items()}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
