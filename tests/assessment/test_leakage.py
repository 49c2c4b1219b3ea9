"""What a record promises is held against the weights, the accountants and the losses."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ft_tf import metrics, records
from ft_tf.assessment import leakage
from ft_tf.assessment.subject import NotPossible
from ft_tf.privacy import membership
from ft_tf.study.membership import of_logits

RESULTS = Path(__file__).parent.parent.parent / "experiments" / "results"
NAME = "fashion_mnist-fmnist_dnn-{}-table_8-paper-epochs_60-seed_0"


@pytest.fixture(scope="module")
def private():
    run = records.load(RESULTS / NAME.format("dpsgd-sigma_1.1-clip_1"))
    model = dataclasses.replace(run.model, weights_fingerprint="ab12")
    return dataclasses.replace(run, model=model)


def test_epsilon_is_computed_again(private):
    found = leakage.guarantee(private, "ab12", None)
    assert found.epsilon == private.privacy.epsilon_claimed == pytest.approx(2.35, abs=0.005)
    assert found.checked == (
        "the record is of these weights (their hash)",
        "epsilon of the 14,400 steps on record, computed again: 2.35, as claimed",
    )
    assert "that the training took these steps" in found.not_checked[0]


def test_a_wrong_claim_is_said(private):
    promised = dataclasses.replace(private.privacy, epsilon_claimed=1.0)
    wrong = dataclasses.replace(private, privacy=promised)
    checked = leakage.guarantee(wrong, "ab12", None).checked
    assert checked[1].endswith("computed again: 2.35, the record CLAIMS 1")


def test_a_record_of_other_weights_or_without_promise_says_nothing(private):
    natural = records.load(RESULTS / NAME.format("natural"))
    for run, message in (
        (None, "no record of the training was given"),
        (natural, "promises none"),
    ):
        with pytest.raises(NotPossible, match=message):
            leakage.guarantee(run, "ab12", None)
    with pytest.raises(NotPossible, match="is of other weights"):
        leakage.guarantee(private, "cd34", None)


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "does not contradict"), (8.0, "CONTRADICTS")])
def test_losses_may_contradict_epsilon(private, shift, verdict):
    """Members whose logits are `shift` higher are all found, of which epsilon 2.35 allows 1%."""
    generator = np.random.default_rng(0)
    y = np.zeros(20000, np.int64)
    others = generator.normal(size=(20000, 3)).astype(np.float32)
    members = generator.normal(size=(20000, 3)).astype(np.float32)
    members[:, 0] += shift
    found = of_logits((members, y), (others, y))
    wanted = membership.loss_threshold_attack(
        member_log_odds=metrics.error_log_odds(members, y),
        other_log_odds=metrics.error_log_odds(others, y),
    )
    assert found.true_positive_rate == wanted.true_positive_rate
    assert found.advantage_of_correctness == np.mean(members.argmax(1) == 0) - np.mean(
        others.argmax(1) == 0
    )
    assert f"this {verdict}" in leakage.guarantee(private, "ab12", found).checked[2]
