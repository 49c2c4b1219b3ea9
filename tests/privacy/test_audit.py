import math

import numpy as np
import pytest
from scipy import stats

from ft_tf.errors import ArgumentError
from ft_tf.privacy.audit import audit_one_run, audit_repeated, one_run_p_value
from ft_tf.privacy.gaussian import gaussian_epsilon

DELTA = 1e-5


def generator(*key):
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def gaussian_scores(key, sigma):
    """A mechanism of known privacy: the canary adds 1, the noise has deviation sigma."""

    def run(included, index):
        return float(included) + generator(key, int(included), index).normal(0, sigma)

    return run


def test_repeated_audit_stays_below_a_true_claim():
    """At level 0.9 at most one audit in ten may refute a claim that is true and tight."""
    sigma = 1.0
    claim = gaussian_epsilon(1 / sigma, delta=0.05)  # a large delta makes the event common
    audits = [
        audit_repeated(gaussian_scores(key, sigma), runs=30, delta=0.05, level=0.9)
        for key in range(40)
    ]
    refuted = sum(audit.contradicts(claim) for audit in audits)
    assert stats.binomtest(refuted, 40, 0.1, alternative="greater").pvalue > 1e-3


def test_repeated_audit_finds_privacy_where_there_is_none_and_names_it():
    audit = audit_repeated(gaussian_scores(1, 0.1), runs=400, delta=DELTA)
    assert audit.contradicts(gaussian_epsilon(1.0, delta=DELTA) / 2)
    assert audit.epsilon_lower_bound > 3.5
    assert audit.trials == 400
    assert not audit.contradicts(gaussian_epsilon(10.0, delta=DELTA))


def test_repeated_audit_refutes_a_claim_made_for_ten_times_the_noise():
    claim = gaussian_epsilon(1 / 2.0, delta=DELTA)
    assert audit_repeated(gaussian_scores(2, 0.2), runs=400, delta=DELTA).contradicts(claim)
    honest = audit_repeated(gaussian_scores(2, 2.0), runs=400, delta=DELTA)
    assert not honest.contradicts(claim)


def test_repeated_audit_refutes_broken_clipping():
    """The canary contributes 8 where 1 was claimed."""

    def run(included, index):
        return 8.0 * included + generator(3, int(included), index).normal(0, 2.0)

    assert audit_repeated(run, runs=400, delta=DELTA).contradicts(
        gaussian_epsilon(1 / 2.0, delta=DELTA)
    )


def test_repeated_audit_works_when_the_telling_event_is_a_low_score():
    """Without the canary the score is never low; with it, it is low now and then."""

    def run(included, index):
        return -float(included and generator(4, index).random() < 0.5)

    audit = audit_repeated(run, runs=200, delta=0.0)
    low = stats.beta.ppf(0.025, 50, 51)
    assert audit.epsilon_lower_bound > math.log(low / 0.04) - 0.7
    assert audit_repeated(lambda included, i: 0.0, runs=50, delta=0.0).epsilon_lower_bound == 0


def test_repeated_bound_is_the_clopper_pearson_ratio():
    audit = audit_repeated(lambda included, i: float(included), runs=200, delta=0.01)
    low = 0.025 ** (1 / 100)  # 100 of 100
    high = 1 - low  # 0 of 100
    assert audit.epsilon_lower_bound == pytest.approx(math.log((low - 0.01) / high), rel=1e-9)


def test_one_run_p_value_is_exact_for_randomised_response():
    """With delta 0, r coins flipped by exp(eps)-biased responses are the binomial itself."""
    chance = math.e / (1 + math.e)
    exact = sum(math.comb(20, k) * chance**k * (1 - chance) ** (20 - k) for k in range(17, 21))
    p_value = one_run_p_value(canaries=50, guesses=20, right=17, epsilon=1.0, delta=0.0)
    assert p_value == pytest.approx(exact, rel=1e-12)


def test_one_run_p_value_delta_term_by_hand():
    """right = 2 of 2 at epsilon 0: W is 0, 1, 2 with 1/4, 1/2, 1/4."""
    slack = max(0.5 / 1, (0.5 + 0.25) / 2)
    assert one_run_p_value(
        canaries=3, guesses=2, right=2, epsilon=0.0, delta=0.01
    ) == pytest.approx(0.25 + 2 * 3 * 0.01 * slack)
    assert one_run_p_value(canaries=3, guesses=2, right=0, epsilon=1.0, delta=0.5) == 1


def one_run(key, canaries, sigma):
    draws = generator(key)
    included = draws.integers(0, 2, canaries).astype(bool)
    return included + draws.normal(0, sigma, canaries), included


def test_one_run_audit_stays_below_a_true_claim():
    claim = gaussian_epsilon(1.0, delta=DELTA)
    audits = [audit_one_run(*one_run(key, 500, 1.0), delta=DELTA) for key in range(40)]
    assert sum(audit.contradicts(claim) for audit in audits) == 0  # far from tight
    assert np.median([audit.epsilon_lower_bound for audit in audits]) > 0.8


def test_one_run_audit_keeps_its_level_where_the_theorem_is_tight():
    """Randomised response meets the theorem with equality: one audit in ten may refute it."""
    claim = 1.0
    refuted = 0
    for key in range(300):
        draws = generator(5, key)
        included = draws.integers(0, 2, 200).astype(bool)
        truthful = draws.random(200) < 1 / (1 + math.exp(-claim))
        scores = np.where(truthful, included, ~included) + draws.random(200) * 1e-3
        audit = audit_one_run(scores, included, delta=0.0, level=0.9, guesses=200)
        refuted += audit.contradicts(claim)
    assert stats.binomtest(refuted, 300, 0.1, alternative="greater").pvalue > 1e-3
    assert refuted > 0


def test_one_run_audit_refutes_a_claim_made_for_ten_times_the_noise():
    claim = gaussian_epsilon(1 / 2.0, delta=DELTA)
    assert audit_one_run(*one_run(1, 1000, 0.2), delta=DELTA).contradicts(claim)
    assert not audit_one_run(*one_run(1, 1000, 2.0), delta=DELTA).contradicts(claim)


def test_one_run_audit_finds_nothing_in_noise():
    draws = generator(9)
    audit = audit_one_run(
        draws.normal(size=400), draws.integers(0, 2, 400).astype(bool), delta=DELTA
    )
    assert audit.epsilon_lower_bound < 0.3


def test_one_run_bound_solves_the_p_value():
    included = np.arange(100) % 2 == 0
    audit = audit_one_run(included * 1.0, included, delta=DELTA, level=0.95, guesses=100)
    assert audit.details == {"guesses": 100, "right": 100}

    def p_value(epsilon):
        return one_run_p_value(canaries=100, guesses=100, right=100, epsilon=epsilon, delta=DELTA)

    assert p_value(audit.epsilon_lower_bound) <= 0.05
    assert p_value(audit.epsilon_lower_bound + 1e-4) > 0.05


def test_bad_arguments_are_named():
    coins = np.array([True, False])
    with pytest.raises(ArgumentError, match="runs=3"):
        audit_repeated(lambda included, i: 0.0, runs=3, delta=DELTA)
    with pytest.raises(ArgumentError, match="not finite"):
        audit_repeated(lambda included, i: math.nan, runs=8, delta=DELTA)
    with pytest.raises(ArgumentError, match=r"scores\.shape=\(3,\)"):
        audit_one_run([1.0, 2.0, 3.0], coins, delta=DELTA)
    with pytest.raises(ArgumentError, match=r"included\.dtype=int64"):
        audit_one_run([1.0, 2.0], coins.astype(np.int64), delta=DELTA)
    with pytest.raises(ArgumentError, match="guesses=5"):
        audit_one_run([1.0, 2.0], coins, delta=DELTA, guesses=5)
    with pytest.raises(ArgumentError, match=r"delta=1\.5"):
        audit_one_run([1.0, 2.0], coins, delta=1.5)
