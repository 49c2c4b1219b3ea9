import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ft_tf.errors import ArgumentError
from ft_tf.faults import keys
from ft_tf.faults.keys import SiteKeys, bernoulli_mask, exact_mask, fault_count


@given(
    size=st.integers(1, 400),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
    start=st.integers(0, 9),
)
def test_exact_mask_is_the_smallest_keys_by_brute_force(size, share, seed, start):
    site_keys = SiteKeys(seed, 3, 0, size, start)
    count = fault_count(share, size)
    expected = np.zeros(size, bool)
    expected[np.argsort(site_keys.all_words, kind="stable")[:count]] = True
    np.testing.assert_array_equal(exact_mask(site_keys, count), expected)


def test_ties_go_to_the_lower_index(monkeypatch):
    words = np.array([7, 5, 5, 5, 9], np.uint64) << np.uint64(60)
    monkeypatch.setattr(SiteKeys, "words", lambda self, first, count: words[first : first + count])
    np.testing.assert_array_equal(exact_mask(SiteKeys(0, 0, 0, 5), 2), [0, 1, 1, 0, 0])


def test_a_word_depends_on_its_site_only():
    whole = SiteKeys(5, 2, 1, 1000).all_words
    for start, size in ((0, 10), (3, 7), (501, 499)):
        part = SiteKeys(5, 2, 1, size, start)
        np.testing.assert_array_equal(part.all_words, whole[start : start + size])
    assert len(np.unique(SiteKeys(5, 2, 1, 1_000_000).all_words)) == 1_000_000


def test_seeds_trials_and_streams_are_independent():
    base = SiteKeys(5, 2, 1, 4000).all_words
    for other in (SiteKeys(6, 2, 1, 4000), SiteKeys(5, 3, 1, 4000), SiteKeys(5, 2, 0, 4000)):
        shared = (base < 2**63) == (other.all_words < 2**63)
        assert abs(shared.mean() - 0.5) < 0.05


def test_a_seed_of_two_words_does_not_run_into_the_trial():
    found = {
        SiteKeys(seed, trial, stream, 4).all_words.tobytes()
        for seed in (0, 1, 2**32, 2**32 + 1, 2**33, 2**63)
        for trial in (0, 1, 2)
        for stream in (0, 1)
    }
    assert len(found) == 6 * 3 * 2
    with pytest.raises(ArgumentError, match=r"seed=18446744073709551616"):
        SiteKeys(2**64, 0, 0, 4).words(0, 4)
    with pytest.raises(ArgumentError, match=r"trial=4294967296"):
        SiteKeys(0, 2**32, 0, 4).words(0, 4)


def test_the_faults_of_an_ordinary_seed_stay_what_they_were():
    expected = np.random.SeedSequence([7, 3, 1]).generate_state(2, np.uint64)
    generator = np.random.Generator(np.random.Philox(key=expected))
    words = generator.integers(0, 2**64, size=8, dtype=np.uint64)
    np.testing.assert_array_equal(SiteKeys(7, 3, 1, 8).all_words, words)


def test_chunks_change_nothing(monkeypatch):
    whole = exact_mask(SiteKeys(1, 0, 0, 5000), 1234)
    rare = bernoulli_mask(SiteKeys(1, 0, 0, 5000), 0.01)
    monkeypatch.setattr(keys, "_RESIDENT", 100)
    monkeypatch.setattr(keys, "CHUNK", 333)
    np.testing.assert_array_equal(exact_mask(SiteKeys(1, 0, 0, 5000), 1234), whole)
    np.testing.assert_array_equal(bernoulli_mask(SiteKeys(1, 0, 0, 5000), 0.01), rare)


@pytest.mark.parametrize(
    "draw", [lambda k, r: exact_mask(k, fault_count(r, k.size)), bernoulli_mask]
)
def test_faults_are_nested_in_the_rate(draw):
    site_keys = SiteKeys(1, 0, 0, 3000)
    masks = [draw(site_keys, rate) for rate in (0, 1e-3, 0.1, 0.5, 0.9, 1)]
    assert not masks[0].any()
    assert masks[-1].all()
    for smaller, larger in itertools.pairwise(masks):
        assert not (smaller & ~larger).any()


def test_sites_are_uniform_among_a_million():
    mask = exact_mask(SiteKeys(9, 4, 0, 1_000_000), 300_000)
    assert mask.sum() == 300_000
    # Exact counts spread over 100 equal blocks are hypergeometric: variance n p (1 - p).
    blocks = mask.reshape(100, -1).sum(axis=1)
    statistic = ((blocks - 3000) ** 2 / (10_000 * 0.3 * 0.7)).sum()
    assert stats.chi2.sf(statistic, 99) > 1e-3


def test_bernoulli_counts_are_binomial():
    counts = np.array([bernoulli_mask(SiteKeys(1, t, 0, 20), 0.3).sum() for t in range(4000)])
    observed = np.bincount(counts, minlength=21)
    expected = 4000 * stats.binom.pmf(np.arange(21), 20, 0.3)
    middle = expected > 10
    statistic = ((observed - expected)[middle] ** 2 / expected[middle]).sum()
    assert stats.chi2.sf(statistic, middle.sum() - 1) > 1e-3


def test_one_in_a_million_of_a_hundred_million():
    site_keys = SiteKeys(3, 0, 0, 100_000_000)
    assert abs(int(np.count_nonzero(bernoulli_mask(site_keys, 1e-6))) - 100) <= 20
    assert np.count_nonzero(exact_mask(site_keys, 10)) == 10  # rate 1e-7
