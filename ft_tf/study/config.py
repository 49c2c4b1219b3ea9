"""The frozen configuration of a run: everything that its record depends on, checked at once."""

import dataclasses
import json
from dataclasses import field
from functools import partial
from typing import Annotated, Any

from ft_tf import architectures, attacks, checks
from ft_tf.errors import ArgumentError
from ft_tf.faults import catalogue
from ft_tf.faults.storage_formats import format_of
from ft_tf.records.rules import directory_name, row_id
from ft_tf.study import algorithms, datasets
from ft_tf.study.algorithms import ADDED, Algorithm, Natural

_NATURAL = Natural()


def check_row(**named: str) -> None:
    """Raises ArgumentError unless the value is the id of a row, as a record has it."""
    for name, value in named.items():
        checks.check_type(str, **{name: value})
        if problem := row_id(value):
            raise ArgumentError(f"{name}={value!r} {problem}")


_Target = Annotated[str, partial(checks.check_choice, ("weights", "units"))]
_Attack = Annotated[str, partial(checks.check_choice, tuple(attacks.ATTACKS))]
_Optimizer = Annotated[str, partial(checks.check_choice, ("sgd", "adam"))]
_Precision = Annotated[str, partial(checks.check_choice, architectures.PRECISIONS)]
_Radius = Annotated[float, partial(checks.check_radius, distance="l_inf")]


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
        reference_models: with membership, also by RMIA: with the help of this many models, trained
            as this one, for as many steps, on training images that train_limit leaves out.
        rescaling: also move the parameters' spread by a rescaling that changes no prediction.
        curve: measure train and test accuracy after every epoch (Figure 1); trades also keeps its
            most robust epoch, chosen on 500 test images that the attack does not take.
        bit_error_formats: also put bit errors into the weights as these storage formats hold them.
        bit_error_rates: their rates per bit, besides 0.
        predictors: also measure what may predict fault tolerance (`ft_tf.faults.predictors`).
    """

    batch_size: checks.Positive = 1000
    fault_targets: tuple[_Target, ...] = ("weights", "units")
    fault_rates: tuple[checks.Fraction, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    fault_trials: checks.Positive = 5
    fault_images: checks.Count = 0
    fault_seed: checks.Count = 0
    layer_rate: checks.Fraction = 0.0
    attacks: tuple[_Attack, ...] = ()
    attack_epsilon: _Radius = 0.1
    attack_steps: checks.Positive = 20
    apgd_steps: checks.Positive = 100
    attack_images: checks.Positive = 1000
    attack_sanity: bool = True
    membership: bool = False
    rescaling: bool = False
    curve: bool = False
    fault: str = field(default="stuck_at_0", metadata=ADDED)
    reference_models: checks.Count = field(default=0, metadata=ADDED)
    bit_error_formats: tuple[str, ...] = field(default=(), metadata=ADDED)
    bit_error_rates: tuple[checks.Fraction, ...] = field(
        default=(1e-6, 1e-5, 1e-4, 1e-3, 1e-2), metadata=ADDED
    )
    predictors: bool = field(default=False, metadata=ADDED)

    def __post_init__(self) -> None:
        checks.check_fields(self)
        if self.reference_models and not self.membership:
            raise ArgumentError(
                f"reference_models={self.reference_models} needs membership=True, next to which "
                "they are stated"
            )
        for storage in self.bit_error_formats:
            format_of(storage)
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
        fault_aware_storage: bits of weights flip in training instead, in this storage format (such
            as int8_per_channel), and fault_aware_rate is per bit; empty for stuck at 0.
        max_weight: weights are clipped to +- this after every step; 0 for no limit.
        weight_noise: deviation of Gaussian noise that is added to every weight after training.
        train_limit: number of training examples to use, the first ones; 0 for all.
        test_limit: number of test examples to use, the first ones; 0 for all.
        holdout: number of training examples, the last ones, that are not trained on but measured.
        stop_at_holdout_accuracy: stop training as soon as the accuracy on the held-out examples
            reaches this, so that models can be compared at equal accuracy; 0 for never.
        stop_at_train_accuracy: the same on the first 10,000 training examples, without a holdout.
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
    epochs: checks.Positive = 10
    batch_size: checks.Positive = 250
    learning_rate: checks.AboveZero = 0.15
    learning_rate_drops: tuple[tuple[int, float], ...] = ()
    optimizer: _Optimizer = "sgd"
    momentum: checks.Amount = 0.0
    weight_decay: checks.Amount = 0.0
    seed: checks.Count = 0
    augment: bool = False
    precision: _Precision = "float32"
    dropout: checks.Fraction = 0.0
    fault_aware_rate: checks.Fraction = 0.0
    fault_aware_target: _Target = "units"
    train_limit: checks.Count = 0
    test_limit: checks.Count = 0
    stop_at_test_accuracy: checks.Fraction = 0.0
    evaluation: Evaluation = Evaluation()
    label: str = ""
    rows: tuple[Annotated[str, check_row], ...] = ()
    fitted: bool = False
    deviations: tuple[str, ...] = ()
    holdout: checks.Count = field(default=0, metadata=ADDED)
    stop_at_holdout_accuracy: checks.Fraction = field(default=0.0, metadata=ADDED)
    stop_at_train_accuracy: checks.Fraction = field(default=0.0, metadata=ADDED)
    fault_aware_storage: str = field(default="", metadata=ADDED)
    max_weight: checks.Amount = field(default=0.0, metadata=ADDED)
    weight_noise: checks.Amount = field(default=0.0, metadata=ADDED)

    def __post_init__(self) -> None:
        checks.check_type(Algorithm, algorithm=self.algorithm)
        checks.check_fields(self)
        source = datasets.get(self.dataset)
        if architectures.get(self.architecture).input_shape not in (None, source.shape):
            raise ArgumentError(
                f"architecture={self.architecture!r} does not take the images of "
                f"dataset={self.dataset!r}"
            )
        if problem := directory_name(self.architecture):  # its record could not be written
            raise ArgumentError(f"architecture={self.architecture!r} {problem}")
        if self.dropout == 1:
            raise ArgumentError(f"dropout={self.dropout} must be below 1: nothing would be left")
        if self.fault_aware_storage:
            format_of(self.fault_aware_storage)
            if not self.fault_aware_rate or self.fault_aware_target != "weights":
                raise ArgumentError(
                    f"fault_aware_storage={self.fault_aware_storage!r} needs fault_aware_rate > 0 "
                    "and fault_aware_target='weights'"
                )
        self.algorithm.check(self)
        if self.augment and not source.may_augment:
            raise ArgumentError(
                f"augment=True cannot be used with dataset={self.dataset!r}: crops and flips may "
                "change an image's class"
            )
        if self.optimizer == "adam" and self.momentum:
            raise ArgumentError(f"momentum={self.momentum!r} is for optimizer='sgd'")
        if self.stop_at_holdout_accuracy and self.stop_at_train_accuracy:
            raise ArgumentError(
                f"stop_at_train_accuracy={self.stop_at_train_accuracy!r} cannot be used together "
                "with stop_at_holdout_accuracy"
            )
        if self.stop_at_holdout_accuracy and not self.holdout:
            raise ArgumentError(
                f"stop_at_holdout_accuracy={self.stop_at_holdout_accuracy!r} needs holdout > 0"
            )

    @property
    def stop_at_accuracy(self) -> float:
        """Accuracy at which training stops, on held-out or on training examples; 0 for never."""
        return self.stop_at_holdout_accuracy or self.stop_at_train_accuracy

    def name(self, *, is_sample: bool) -> str:
        """Returns a readable name for the run's directory."""
        dataset = f"{self.dataset}_sample" if is_sample else self.dataset
        if self.train_limit:
            dataset += f"_{self.train_limit}"
        faulty = self.fault_aware_storage.replace(":", "_") or self.fault_aware_target
        settings = (
            (self.dropout, f"dropout_{self.dropout:g}"),
            (self.augment, "augmented"),
            (self.precision != "float32", self.precision),
            (self.fault_aware_rate, f"faulty_{faulty}_{self.fault_aware_rate:g}"),
            (self.max_weight, f"max_weight_{self.max_weight:g}"),
            (self.weight_noise, f"weight_noise_{self.weight_noise:g}"),
            (self.stop_at_test_accuracy, f"stopped_at_{self.stop_at_test_accuracy:.4f}"),
            (self.holdout, f"holdout_{self.holdout}"),
            (self.stop_at_holdout_accuracy, f"stopped_at_holdout_{self.stop_at_accuracy:.4f}"),
            (self.stop_at_train_accuracy, f"stopped_at_train_{self.stop_at_accuracy:.4f}"),
            (self.label, self.label),
        )
        parts = [dataset, self.architecture, f"{self.algorithm.name}{self.algorithm.tag}"]
        parts += [part for is_set, part in settings if is_set]
        return "-".join([*parts, f"epochs_{self.epochs}", f"seed_{self.seed}"])


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Returns the configuration as JSON values; `algorithm` carries its name with its options.

    Fields that older records lack are left out while they are at their defaults, so that an equal
    configuration has equal JSON.
    """

    def known(values: Any) -> dict[str, Any]:
        return {
            option.name: getattr(values, option.name)
            for option in dataclasses.fields(values)
            if not option.metadata.get("added") or getattr(values, option.name) != option.default
        }

    algorithm = {"name": config.algorithm.name, **known(config.algorithm)}
    fields = {**known(config), "algorithm": algorithm, "evaluation": known(config.evaluation)}
    return json.loads(json.dumps(fields))


def from_dict(fields: dict[str, Any]) -> RunConfig:
    """Returns the configuration of `to_dict`'s values.

    Raises:
        ArgumentError: a key is not known or a value is not allowed.
    """
    try:
        fields = _as_tuples(fields)
        algorithm = algorithms.from_dict(fields.pop("algorithm"))
        evaluation = Evaluation(**fields.pop("evaluation"))
        return RunConfig(algorithm=algorithm, evaluation=evaluation, **fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArgumentError(f"config cannot be read: {error}") from None


def _as_tuples(value: Any) -> Any:
    """JSON values with tuples for lists."""
    if isinstance(value, dict):
        return {key: _as_tuples(item) for key, item in value.items()}
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
