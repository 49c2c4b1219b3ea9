import pytest

from ft_tf.errors import ArgumentError
from ft_tf.privacy import Phase, epsilon_of, noise_multiplier_for

RUNS = [
    (accountant, target, q, steps)
    for accountant in ("rdp", "paper", "shuffled")
    for target in (0.3, 2.97, 40.0)
    for q, steps in ((250 / 60_000, 14_400), (0.3, 20))
] + [("pld", 2.0, 250 / 60_000, 14_400), ("pld", 0.2, 1.0, 3), ("pld", 30.0, 0.3, 20)]


@pytest.mark.parametrize(("accountant", "target", "q", "steps"), RUNS)
def test_never_overshoots_and_a_tenth_of_a_percent_less_would(accountant, target, q, steps):
    sigma = noise_multiplier_for(
        target_epsilon=target,
        delta=1e-5,
        sampling_probability=q,
        steps=steps,
        accountant=accountant,
    )

    def epsilon(noise_multiplier):
        phase = Phase(noise_multiplier, q, steps)
        return epsilon_of([phase], delta=1e-5, accountant=accountant)

    assert epsilon(sigma) <= target
    assert epsilon(0.999 * sigma) > target


def test_a_small_target_needs_much_noise_and_gets_it():
    run = {"delta": 1e-5, "sampling_probability": 0.01, "steps": 100}
    sigma = noise_multiplier_for(target_epsilon=0.003, **run)
    epsilons = [
        epsilon_of([Phase(noise, 0.01, 100)], delta=1e-5, accountant="pld")
        for noise in (sigma, 0.999 * sigma)
    ]
    assert epsilons[0] <= 0.003 < epsilons[1]


def test_a_delta_that_pld_cannot_resolve_is_met_by_rdp():
    run = {"target_epsilon": 2.0, "delta": 1e-12, "sampling_probability": 0.01, "steps": 1000}
    with pytest.raises(ArgumentError, match="below 1e-10, .* use accountant=rdp"):
        noise_multiplier_for(**run)
    sigma = noise_multiplier_for(**run, accountant="rdp")
    assert epsilon_of([Phase(sigma, 0.01, 1000)], delta=1e-12, accountant="rdp") <= 2
    exact = noise_multiplier_for(**run | {"sampling_probability": 1.0})  # one Gaussian
    assert epsilon_of([Phase(exact, 1.0, 1000)], delta=1e-12, accountant="pld") <= 2


def test_returns_the_papers_noise_for_the_papers_epsilon():
    for target, sigma in ((0.49177, 5.0), (2.96993, 1.1), (24.6624, 0.5)):
        found = noise_multiplier_for(
            target_epsilon=target,
            delta=1e-5,
            sampling_probability=250 / 60_000,
            steps=14_400,
            accountant="paper",
        )
        assert found == pytest.approx(sigma, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_epsilon": 0.0}, "target_epsilon=0.0"),
        ({"target_epsilon": -1.0}, "target_epsilon=-1.0"),
        ({"target_epsilon": 0.1, "accountant": "paper"}, "orders end at 63"),
        ({"target_epsilon": 1e9, "accountant": "rdp"}, "protects nothing"),
        ({"delta": 1.0}, "delta=1.0"),
        ({"steps": 0}, "steps=0"),
        ({"sampling_probability": 1.1}, "sampling_probability=1.1"),
        ({"accountant": "gdp"}, "accountant='gdp'"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {
        "target_epsilon": 1.0, "delta": 1e-5, "sampling_probability": 0.1, "steps": 10,
    } | change  # fmt: skip
    with pytest.raises(ArgumentError, match=message):
        noise_multiplier_for(**arguments)
