"""Intervals of what is lost, and the order in which parts of a model are tried."""

from types import SimpleNamespace

import subjects

from ft_tf.assessment.curves import interval_of_lost, parts_of_model, whole_model


def test_trials_that_all_gain_alike_leave_their_gain_in_the_interval():
    found = interval_of_lost([-0.02] * 10)
    assert found.low <= -0.02 <= found.high < 0.5
    assert found.low >= -1.0


def test_layers_bits_and_protections_take_turns():
    """Little time is enough for the first of each."""
    subject = SimpleNamespace(model=subjects.classifier(), storage="float32")
    weights, _, bits = whole_model()
    protections = dict.fromkeys(("one", "two", "three"), subjects.fraction_only)
    found = [(m.group, m.name) for m in parts_of_model(subject, weights, bits, protections)]
    assert found[:6] == [
        ("layers", "hidden"), ("bits", "31"), ("protections", "one"),
        ("layers", "logits"), ("bits", "30"), ("protections", "two"),
    ]  # fmt: skip
    assert found[6:9] == [("bits", "29"), ("protections", "three"), ("bits", "28")]
    assert len(found) == 2 + 13 + 3
