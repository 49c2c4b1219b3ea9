"""What the model gives away of its training data: membership inference, and a DP run's epsilon."""

import dataclasses
import math

from ft_tf import privacy, records
from ft_tf.assessment.card import Guarantee
from ft_tf.assessment.subject import NotPossible
from ft_tf.privacy import membership

_TRUST = (
    "that the training took these steps, with this noise, on batches drawn in this way",
    "learning rates, clip norms and stopping points that were chosen on the training data",
    "further runs on the same data, whose costs add up",
)
_TOLERANCE = 1e-3  # between versions of the accountants


def guarantee(
    run: records.Run | None, weights_fingerprint: str, found: records.Membership | None
) -> Guarantee:
    """Returns what a run's record promises, and which parts of that hold up here.

    Raises:
        NotPossible: there is no record of these weights that promises anything.
    """
    if run is None:
        raise NotPossible("no record of the training was given")
    promised = run.privacy
    if promised is None:
        raise NotPossible(f"the training on record ({run.name}) promises none")
    known = run.model.weights_fingerprint
    if known not in (None, weights_fingerprint):
        raise NotPossible(f"the record {run.name} is of other weights")
    checked, trusted = [], []
    if known is None:
        trusted.append("that the record is of these weights: it holds no hash of them")
    else:
        checked.append("the record is of these weights (their hash)")
    if promised.epsilon_claimed is not None:
        checked.append(_recomputed(promised))
        if found is not None:
            checked.append(_compared(promised, found))
        trusted += _TRUST
    if promised.noise_seed_published:
        trusted.append("that no reader of the record uses the noise seed, which it holds")
    return Guarantee(
        record=run.name,
        epsilon=promised.epsilon_claimed,
        delta=promised.delta,
        statement=promised.statement,
        checked=tuple(checked),
        not_checked=tuple(trusted),
    )


def _recomputed(promised: records.Privacy) -> str:
    phases = [privacy.Phase(**dataclasses.asdict(phase)) for phase in promised.phases]
    passes = promised.passes if len(phases) == 1 and promised.passes else None
    cost = privacy.privacy_cost_of_phases(phases, delta=promised.delta, passes=passes)
    if promised.sampling == "shuffle":
        epsilon = cost.epsilon_shuffled
    else:
        epsilon, _ = privacy.statements.best_epsilon(cost)
    claimed = promised.epsilon_claimed
    agrees = math.isclose(epsilon, claimed, rel_tol=_TOLERANCE)
    verdict = "as claimed" if agrees else f"the record CLAIMS {claimed:.4g}"
    steps = f"the {promised.steps:,} steps on record"
    return f"epsilon of {steps}, computed again: {epsilon:.4g}, {verdict}"


def _compared(promised: records.Privacy, found: records.Membership) -> str:
    allowed = membership.allowed_true_positive_rate(
        epsilon=promised.epsilon_claimed,
        delta=promised.delta,
        false_positive_rate=found.false_positive_rate,
    )
    low, high = found.true_positive_interval
    verdict = "CONTRADICTS it" if low > allowed else "does not contradict it"
    return (
        f"membership inference finds [{low:.2%}, {high:.2%}] of the members at a false positive "
        f"rate of {found.false_positive_rate:.1%}; epsilon allows {allowed:.2%}: this {verdict}"
    )
