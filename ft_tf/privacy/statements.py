"""The privacy statement of a run, with all its assumptions."""

from collections.abc import Sequence

from ft_tf.checks import (
    check_choice,
    check_non_negative,
    check_non_negative_integer,
    check_positive,
    check_type,
    check_types,
)
from ft_tf.errors import ArgumentError
from ft_tf.privacy.accounting import PrivacyCost
from ft_tf.privacy.tradeoff import LEAST_RATE, TradeOff, claimed_curve

SAMPLINGS = ("poisson", "shuffle", "unaccounted")
ENGINES = ("fast", "reference")
CLIPPING_RULES = {
    "flat": "",
    "per_layer": (
        "Each layer's gradient was clipped to the clip norm over the root of the number of layers, "
        "which bounds the whole gradient by the clip norm."
    ),
    "automatic": (
        "Clipping was automatic: every gradient was divided by its norm plus a constant, which "
        "bounds it by the clip norm."
    ),
    "adaptive": (
        "The clip norm followed a quantile of the gradients' norms by noisy counts: "
        "noise_multiplier is that of gradients and counts together."
    ),
}
"""Clipping rules of DP-SGD, and what a statement says of them."""

OUTSIDE_OF_A_FRESH_MODEL = (
    "It covers the trained weights and what is computed from them alone. Outside it lie: "
    "learning rates, clip norms and stopping points chosen on the training data; published "
    "training accuracies and histories; further runs, such as several seeds, on the same data "
    "(their costs add up). Steps that ran and whose result was lost count as steps."
)
"""What no epsilon of a single run covers, if the run began from fresh random weights."""

OUTSIDE = OUTSIDE_OF_A_FRESH_MODEL.replace(
    "lie: ",
    "lie: initial weights, unless they do not come from this data (fresh random ones do not; those "
    "of a model that was trained on it before do); ",
)
"""The same where the initial weights are not known."""


def check_engine(
    engine: str,
    *,
    sampling: str = "shuffle",
    noise_seed: int | None = None,
    weight_decay: float = 0.0,
    target_epsilon: float | None = None,
    optimizer: str = "sgd",
    clipping: str = "flat",
    strategy: str = "none",
) -> None:
    """Refuses an unknown engine of DP-SGD, and what engine="reference" cannot do.

    Args:
        engine: "fast" or "reference" (TF Privacy's DPKerasSGDOptimizer).
        sampling: how batches are drawn.
        noise_seed: of noise that is added; None where none is, or none is seeded.
        weight_decay: of the training.
        target_epsilon: that the noise is calibrated for.
        optimizer: name of the optimizer.
        clipping: one of `CLIPPING_RULES`.
        strategy: of tf.distribute: none or mirrored.

    Raises:
        ArgumentError: names the argument and the remedy.
    """
    check_choice(ENGINES, engine=engine)
    check_choice(SAMPLINGS, sampling=sampling)
    check_non_negative(weight_decay=weight_decay)
    if target_epsilon is not None:
        check_positive(target_epsilon=target_epsilon)
    if noise_seed is not None:
        check_type(int, noise_seed=noise_seed)
    check_type(str, optimizer=optimizer, strategy=strategy)
    check_choice(tuple(CLIPPING_RULES), clipping=clipping)
    if strategy not in ("none", "mirrored"):
        raise ArgumentError(
            f"strategy={strategy!r} cannot be used with DP-SGD: each process would draw batches "
            "and noise by itself, and epsilon would be larger; use 'mirrored', on one machine"
        )
    if engine != "reference":
        return
    if sampling == "poisson":
        raise ArgumentError(
            "sampling='poisson' cannot be used with engine='reference', whose batches must be "
            "full: use sampling='shuffle'"
        )
    if noise_seed is not None:
        raise ArgumentError(
            f"noise_seed={noise_seed} cannot fix the noise of engine='reference', which draws its "
            "own: use noise_seed=None or noise_multiplier=0"
        )
    for name, value, default in (
        ("weight_decay", weight_decay, 0.0),
        ("target_epsilon", target_epsilon, None),
        ("clipping", clipping, "flat"),
        ("strategy", strategy, "none"),
    ):
        if value != default:
            raise ArgumentError(f"{name}={value!r} needs engine='fast'")
    if optimizer.lower() != "sgd":
        raise ArgumentError(f"optimizer={optimizer!r} must be 'sgd' with engine='reference'")


def statement(
    cost: PrivacyCost,
    *,
    sampling: str = "poisson",
    noise_seed: int | None = None,
    seed_is_published: bool = False,
    engine: str = "fast",
    target_epsilon: float | None = None,
    fresh_weights: bool = False,
    from_dataset: bool = False,
    dataset_reason: str = "",
    clipping: Sequence[str] = ("flat",),
    steps_before: int = 0,
) -> str:
    """Returns the guarantee of a run as text: to whom it applies, and what would break it.

    Args:
        cost: the accounted run; its phases are all steps executed, lost ones included.
        sampling: how batches were drawn: "poisson", "shuffle" (fixed batches, reshuffled each
            pass), or "unaccounted" (a pipeline whose sampling is not known).
        noise_seed: seed of sampling and noise, None where they came from the operating system.
        seed_is_published: whether the seed is published with the statement, as in a record with
            the configuration: the epsilons are then those of a run with a secret seed.
        engine: "fast" or "reference" (DPKerasSGDOptimizer, which cannot draw Poisson batches).
        target_epsilon: that the noise was calibrated to, if it was.
        fresh_weights: whether the run is known to have begun from fresh random weights; if not,
            the statement says that it does not cover initial weights which come from the data.
        from_dataset: whether a tf.data input gave the batches: the statement then names the
            assumptions that are taken on trust.
        dataset_reason: why `sampling` is not the sampling that was stated of that input, if so.
        clipping: the clipping rules of the run's steps, of `CLIPPING_RULES`.
        steps_before: steps that the same weights had taken and that `cost` does not hold.

    Returns:
        A paragraph of plain sentences.

    Raises:
        ArgumentError: an argument is unknown, or the reference engine with Poisson sampling.
    """
    check_type(PrivacyCost, cost=cost)
    check_engine(engine, sampling=sampling)
    check_types(str, clipping=clipping)
    for rule in clipping:
        check_choice(tuple(CLIPPING_RULES), clipping=rule)
    if noise_seed is not None:
        check_type(int, noise_seed=noise_seed)
    if target_epsilon is not None:
        check_positive(target_epsilon=target_epsilon)
    check_non_negative_integer(steps_before=steps_before)
    published = noise_seed is not None and seed_is_published
    subject = "With a secret noise_seed this run would be" if published else "This run is"
    sentences = [_headline(cost, sampling, subject, from_dataset, dataset_reason)]
    if cost.private and sampling != "unaccounted":
        if cost.delta_warning:
            sentences.append(f"But {cost.delta_warning}.")
        if steps_before:
            sentences.append(
                f"The weights had taken {steps_before} steps before these, whose cost is not in "
                "it: account for the events of all trainers together."
            )
        if target_epsilon is not None:
            spent = cost.epsilon_shuffled if sampling == "shuffle" else best_epsilon(cost)[0]
            held = spent <= target_epsilon and not steps_before
            sentences.append(
                f"The noise was calibrated to spend at most epsilon={target_epsilon:g} at "
                f"delta={cost.delta:g}{'' if held else ', which this run does not keep to'}."
            )
        sentences += filter(None, map(CLIPPING_RULES.__getitem__, clipping))
        if from_dataset:
            sentences += _on_trust(sampling, dataset_reason)
        if noise_seed is not None:
            sentences.append(_PUBLISHED if published else _SECRET)
        curve = claimed_curve(cost, sampling)
        if curve:
            rate = float(curve.true_positive_rate(1e-3))
            sentences.append(
                "A test whether one example was trained on finds at most "
                f"{100 * rate:.3g}% of the members at a false positive rate of 0.1%, and its true "
                f"positive rate never exceeds its false one by more than "
                f"{100 * curve.advantage:.3g} points. It is no easier than telling N(0, 1) from "
                f"N({curve.gaussian_mu:.3g}, 1){_where_fitted(curve)}."
            )
        sentences.append(OUTSIDE_OF_A_FRESH_MODEL if fresh_weights else OUTSIDE)
    return " ".join(sentences)


_SECRET = (
    "Sampling and noise come from a fixed noise_seed: the guarantee holds only while the seed is "
    "secret, and it is void once the seed is published."
)
_PUBLISHED = (
    "Sampling and noise come from a fixed noise_seed, and the seed stands in this record: whoever "
    "reads it can take the noise away, so that for them the guarantee is void."
)


def _where_fitted(curve: TradeOff) -> str:
    """Where the Gaussian of a curve bounds it; everywhere if the run is one Gaussian mechanism."""
    return "" if curve.mu is not None else f" at error rates of {LEAST_RATE:g} and more"


def _on_trust(sampling: str, reason: str) -> list[str]:
    """Returns the assumptions about a tf.data input."""
    if sampling == "poisson":
        return [
            "The batches came from a tf.data input: that they were drawn so, and from as many "
            "examples as num_examples says, is taken on trust; their sizes do not contradict it."
        ]
    trust = (
        "The batches came from a tf.data input: that no pass over it gives an example twice is "
        "taken on trust; the numbers of examples do not contradict it."
    )
    return [trust, f"No other sampling is claimed because {reason}."] if reason else [trust]


def _headline(
    cost: PrivacyCost, sampling: str, subject: str, from_dataset: bool, reason: str
) -> str:
    if sampling == "unaccounted":
        why = "how the batches were drawn is not known"
        if reason:
            why = f"a tf.data input contradicts what was said of it ({reason})"
        return (
            f"Unaccounted: {why}, so that no epsilon is claimed. "
            "Give arrays, or the number of examples and the sampling, to have the run accounted."
        )
    if not cost.private:
        return (
            "Not private: no noise was added (noise_multiplier=0), epsilon is infinite. Clipping "
            "alone gives no privacy."
        )
    if sampling == "shuffle":
        epsilon = cost.epsilon_shuffled
        source = f"exact, {cost.passes} Gaussian mechanisms, one a pass"
        differ = "one example's contribution left out of its batch"
        drawn = "taken as they came" if from_dataset else "drawn by shuffling"
        tight = "" if cost.epsilon_pld is None else f" ({cost.epsilon_pld:.4g} by PLD)"
        assumed = (
            f"Batches were fixed in size and {drawn}, which earns no amplification by sampling. "
            f"The paper would claim {cost.epsilon_paper:.4g}{tight}, which assumes Poisson "
            "sampling: that does not hold for this run."
        )
    else:
        epsilon, source = best_epsilon(cost)
        differ = "adding or removing one example"
        assumed = (
            "It assumes that every batch was a Poisson sample: each example entered each batch by "
            "an independent draw. Had the same steps run on shuffled fixed batches, epsilon would "
            f"be {cost.epsilon_shuffled:.4g}. The paper's way of computing gives "
            f"{cost.epsilon_paper:.4g}."
        )
    steps = ", then ".join(
        f"{phase.steps} steps at noise_multiplier={phase.noise_multiplier:g} and "
        f"sampling probability {phase.sampling_probability:.4g}"
        for phase in cost.phases
    )
    return (
        f"{subject} (epsilon={epsilon:.4g}, delta={cost.delta:g})-differentially private "
        f"({source}), for neighbouring data sets that differ by {differ}, over "
        f"{steps or 'no steps'}. {assumed}"
    )


def best_epsilon(cost: PrivacyCost) -> tuple[float, str]:
    """The smallest epsilon that holds for a private Poisson-sampled run, and its accountant.

    PLD, RDP and the paper's figure all bound the same quantity from above.
    """
    candidates = [
        (cost.epsilon_pld, "privacy loss distribution"),
        (cost.epsilon_rdp, "RDP"),
        (cost.epsilon_paper, "RDP as the paper converts it"),
    ]
    return min((epsilon, source) for epsilon, source in candidates if epsilon is not None)
