"""What is measured on a trained model, as parts of its record."""

import dataclasses
from typing import Annotated, Any, Literal

from ft_tf.records.parsing import Open
from ft_tf.records.rules import (
    Amount,
    Change,
    Count,
    Fraction,
    Interval,
    Matches,
    Positive,
    Problems,
    Quantile,
    Target,
    ascending,
    difference,
    ends,
    lengths,
)


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Of the trained model on the whole splits, in inference mode."""

    train: Fraction  # R_train
    test: Fraction  # R_test
    generalization_error: Change  # train - test (equation 2)
    test_interval: Interval | None = None  # 95% interval of `test`, over images
    holdout: Fraction | None = None  # on training images that were held out, if any

    def _problems(self) -> Problems:
        gap = self.generalization_error
        return difference("generalization_error", gap, self.train, self.test, "train - test")


@dataclasses.dataclass(frozen=True)
class Rescaled:
    """Spread of the parameters after rescalings that change no prediction."""

    layers: tuple[str, str]  # multiplied by 2^power, and divided by it
    powers: tuple[int, ...]  # of the rescalings
    standard_deviation: tuple[Amount, ...]  # at each power
    equation_10: tuple[Amount, ...]  # at each power
    changed_logits: Count  # number of logits that differ, over all powers
    changed_logits_under_faults: Count  # the same with weights stuck at 0

    def _problems(self) -> Problems:
        return lengths(self, "powers", "standard_deviation", "equation_10")


@dataclasses.dataclass(frozen=True)
class ParameterSpread:
    """Spread of the parameters, see `ft_tf.metrics.parameter_spread`."""

    standard_deviation: Amount  # of all parameters
    equation_10: Amount  # the paper's formula as printed
    bin_edges: Annotated[tuple[float, ...], ascending]  # of the histogram
    bin_counts: tuple[Count, ...]  # parameters in each bin
    rescaled: Rescaled | None = None  # None where it was not asked for

    def _problems(self) -> Problems:
        if len(self.bin_counts) != len(self.bin_edges) - 1:
            yield "bin_counts", f"must have one entry less than the {len(self.bin_edges)} bin_edges"


@dataclasses.dataclass(frozen=True)
class Drop:
    """The paper's Figure 3: accuracy lost between fault rates 50% and 90%."""

    drop: Change  # at_50 - at_90
    at_50: Fraction  # mean accuracy
    at_90: Fraction  # mean accuracy

    def _problems(self) -> Problems:
        return difference("drop", self.drop, self.at_50, self.at_90, "at_50 - at_90")


@dataclasses.dataclass(frozen=True)
class Lost:
    """Accuracy lost at each rate, each trial against the fault-free model on the same images."""

    mean: tuple[Change, ...]  # over trials
    low: tuple[Change, ...]  # lower end of the 95% interval over trials
    high: tuple[Change, ...]  # upper end

    def _problems(self) -> Problems:
        yield from lengths(self, "mean", "low", "high")
        yield from ends(self.low, self.high)


@dataclasses.dataclass(frozen=True)
class EpsilonFt:
    """Equation 1's epsilon_ft at one rate, by quantile over test images, such as "0.95"."""

    rate: Fraction  # share of faulty sites
    total_variation: dict[Quantile, Fraction | None]  # between the output distributions
    half_margin: dict[Quantile, Amount | None]  # change of logits over half the prediction's margin


@dataclasses.dataclass(frozen=True)
class Campaign:
    """Test accuracy under random faults, by rate; the lists run in parallel."""

    target: Target  # "weights" or "units"
    rates: Annotated[tuple[Fraction, ...], ascending]  # shares of faulty sites, ascending
    faults: tuple[Amount, ...]  # mean number of faulty sites
    mean: tuple[Fraction, ...]  # accuracy, over trials
    standard_deviation: tuple[Amount | None, ...]  # over trials; None for a single one
    low: tuple[Fraction, ...]  # lower end of the interval of the mean over trials
    high: tuple[Fraction, ...]  # upper end
    trials: Positive  # independent fault sets at each rate
    images: Positive  # test images of each trial
    seed: Count  # of the fault sets
    sites: Positive  # number of places where a fault may be
    method: str  # of the intervals
    unit: str  # what the intervals are over, such as "trial"
    level: Fraction  # their nominal coverage
    drop_50_to_90: Drop | None  # None if one of the two rates was not measured
    epsilon_ft: tuple[EpsilonFt, ...]  # at one or more rates
    lost: Lost | None = None  # None in records from before it was measured

    def _problems(self) -> Problems:
        yield from lengths(self, "rates", "faults", "mean", "standard_deviation", "low", "high")
        yield from ends(self.low, self.high)
        if self.lost is not None and len(self.lost.mean) != len(self.rates):
            yield "lost.mean", f"must have {len(self.rates)} entries, as rates has"


WHOLE_MODEL = "whole model"


@dataclasses.dataclass(frozen=True)
class LayerFault:
    """Accuracy with faults in one layer."""

    layer: str  # its name; "whole model" first
    sites: Positive  # of the layer
    faults: Amount  # mean number of faulty sites
    rate: Fraction  # share of faulty sites
    clean_accuracy: Fraction  # without faults
    accuracy: Fraction  # mean over trials
    drop: Change  # mean accuracy lost, each trial on its own images
    low: float | None  # lower end of the 95% interval over trials; None for a single trial
    high: float | None  # upper end


@dataclasses.dataclass(frozen=True)
class _AttackParameters(Open):
    distance: str = "l_inf"


@dataclasses.dataclass(frozen=True)
class Attack:
    """Accuracy under one attack on the first test images."""

    attack: str  # its name
    epsilon: Amount  # radius of the ball
    steps: Positive  # gradient steps
    images: Positive  # number of test images, and of training images where those were attacked
    clean_accuracy: Fraction  # on these images, not attacked
    robust_accuracy: Fraction  # on these images, attacked
    robust_interval: Interval  # 95% interval of `robust_accuracy`, over images
    parameters: Annotated[dict[str, Any], Matches(_AttackParameters)]  # all settings of the attack
    warnings: tuple[str, ...]  # reasons to doubt the result
    clean_interval: Interval | None = None  # 95% interval of `clean_accuracy`, over images
    train_clean_accuracy: Fraction | None = None  # on training images; of a run's first attack
    train_robust_accuracy: Fraction | None = None  # the same, attacked
    robust_generalization_error: Change | None = None  # train_robust_accuracy - robust_accuracy

    def _problems(self) -> Problems:
        gap = self.robust_generalization_error
        if gap is None:
            return
        if self.train_clean_accuracy is None or self.train_robust_accuracy is None:
            yield "robust_generalization_error", "needs the accuracies on training images"
        else:
            first, second = self.train_robust_accuracy, self.robust_accuracy
            formula = "train_robust_accuracy - robust_accuracy"
            yield from difference("robust_generalization_error", gap, first, second, formula)


@dataclasses.dataclass(frozen=True)
class BestCheckpoint:
    """The epoch of a TRADES run with the best robust accuracy."""

    epoch: Positive  # counted from 1
    test_accuracy: Fraction  # on all test images
    robust_accuracy: Fraction  # under PGD, on the images of the run's own attack
    attack_steps: Positive  # of that PGD
    selected_on: str  # how the epoch was chosen, on test images that the two accuracies leave out


@dataclasses.dataclass(frozen=True)
class ReferenceMembership:
    """Membership inference with reference models, RMIA: see `ft_tf.study.membership`."""

    references: Positive  # reference models
    advantage: Change  # of the best threshold on the score
    true_positive_rate: Fraction  # members found at a false positive rate of 1 in 1000
    true_positive_interval: tuple[Fraction, Fraction]  # its 95% interval
    others: Positive  # test images; as many more are the population


@dataclasses.dataclass(frozen=True)
class Membership:
    """Membership inference by a threshold on the loss, see `ft_tf.privacy.membership`."""

    advantage: Change  # of the best threshold
    advantage_of_mean_loss: Change  # of the mean training loss as threshold
    advantage_of_correctness: Change  # of guessing "member" when the prediction is right
    threshold: float | None  # the best one
    true_positive_rate: Fraction  # members found at `false_positive_rate`
    # its 95% interval; the ends are the wrong way round where ties broke an older record's
    true_positive_interval: tuple[Fraction, Fraction]
    false_positive_rate: Fraction  # others that are taken for members
    members: Positive  # training images
    others: Positive  # test images
    # "log-odds". None in older records: there thresholds are losses, whose ties at 0 can leave no
    # true positives, and the interval is over members alone
    scale: Literal["log-odds"] | None = None
    by_references: ReferenceMembership | None = None  # RMIA, where it was configured


@dataclasses.dataclass(frozen=True)
class Phase:
    """Equal steps of a DP-SGD training."""

    noise_multiplier: Amount  # standard deviation of the noise over the clip norm
    sampling_probability: Fraction  # of an example, in one step
    steps: Count  # their number


@dataclasses.dataclass(frozen=True)
class Privacy:
    """Privacy of a DP-SGD run, see `ft_tf.privacy.to_record`."""

    epsilon_claimed: Amount | None  # the one that holds for the run's sampling
    gap_bound_claimed: Fraction | None  # bound on the generalization error that holds for it
    epsilon_paper: Amount | None  # by the paper's accountant
    order_paper: Amount | None  # the RDP order that attains it
    epsilon_rdp: Amount | None  # by today's RDP accountant
    order_rdp: Amount | None  # the RDP order that attains it
    epsilon_pld: Amount | None  # by the privacy loss distribution
    epsilon_shuffled: Amount | None  # for shuffled fixed batches
    epsilon_replace_one: Amount | None  # for replacing an example
    theorem_1_as_printed: Amount | None  # exp(epsilon) - 1 + delta with `epsilon_paper`
    theorem_1_replace_one: Amount | None  # the same with `epsilon_replace_one`
    gap_bound: Fraction | None  # total variation, for Poisson sampling
    gap_bound_shuffled: Fraction | None  # the same for shuffled batches
    delta: Fraction  # at which every epsilon is stated
    steps: Count  # executed ones, lost ones included
    passes: Count  # over the data
    sampling: Literal["poisson", "shuffle", "unaccounted"]  # how batches were drawn
    sampling_probability: Fraction | None  # None where phases differ
    noise_multiplier: Amount | None  # None where phases differ
    noise_seed_fixed: bool  # whether sampling and noise have a fixed seed
    # whether that seed is in `config`: for a reader of the record the guarantee is void, and the
    # values are those of a run with a secret seed
    noise_seed_published: bool
    engine: str  # "fast" or "reference"
    phases: tuple[Phase, ...]  # what was executed
    private: bool  # whether every step added noise
    bound_says_something: dict[str, bool]  # by bound, whether it is below 1
    gap_bound_method: str  # how `gap_bound` was computed
    warnings: tuple[str, ...]  # what to know before quoting a value
    reasons: dict[str, str]  # why a value is None, by its name
    statement: str  # all of this as text
    # What the run's sampling allows a test whether one example was trained on; None in records
    # that are older than these values.
    gaussian_mu: Amount | None = None  # of the Gaussian mechanism that fits
    membership_advantage: Fraction | None = None  # most of true minus false positive rate
    true_positive_rate_at_1_in_1000: Fraction | None = None  # most, at that false positive rate
    true_positive_rate_at_1_in_100: Fraction | None = None
    true_positive_rate_at_1_in_10: Fraction | None = None
    clipping: tuple[str, ...] | None = None  # clipping rules of the steps; None: flat


@dataclasses.dataclass(frozen=True)
class CirclesResult:
    """One row of Table 3."""

    noise: str  # kind of noise, or of what replaces it
    sigma: Amount  # of the noise; of "tikhonov", which is none, the coefficient l2
    train: tuple[Fraction, ...]  # training accuracy of each replicate
    test: tuple[Fraction, ...]  # test accuracy of each replicate


@dataclasses.dataclass(frozen=True)
class Averaged:
    """The average of the iterates of a DP-SGD run, measured as the trained model is."""

    kind: Literal["tail", "exponential"]  # which average
    accuracy: Accuracy  # of the averaged weights
    parameters: ParameterSpread  # their spread
    faults: dict[Target, Campaign]  # by target
    bit_errors: dict[str, Campaign] | None = None  # by storage format
