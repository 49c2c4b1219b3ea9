import numpy as np
import pytest

from ft_tf.errors import ArgumentError
from ft_tf.privacy.membership import loss_threshold_attack, rmia_scores


def test_scores_are_the_formula_pair_by_pair():
    rng = np.random.default_rng(0)
    target, population = rng.random(15), rng.random(8)
    references, of_population = rng.random((3, 15)), rng.random((3, 8))
    found = rmia_scores(
        target=target, references=references, population_target=population,
        population_references=of_population, gamma=1.3, a=0.4,
    )  # fmt: skip
    for i in range(15):
        p_x = (1.4 * references[:, i].mean() + 0.6) / 2
        beaten = 0
        for j in range(8):
            p_z = (1.4 * of_population[:, j].mean() + 0.6) / 2
            beaten += (target[i] / p_x) / (population[j] / p_z) >= 1.3
        assert found[i] == beaten / 8


def logistic(values):
    return 1 / (1 + np.exp(-values))


def test_it_finds_members_that_a_threshold_on_the_loss_cannot():
    """Examples differ in difficulty by far more than training on them changes their loss."""
    rng = np.random.default_rng(1)
    n, references = 4000, 2

    def model(difficulty, shift):
        return logistic(difficulty + shift + rng.normal(0, 0.3, len(difficulty)))

    hard = {name: rng.normal(0, 2, n) for name in ("members", "others", "population")}
    target = {name: model(hard[name], 1.5 * (name == "members")) for name in hard}
    outside = {name: [model(hard[name], 0) for _ in range(references)] for name in hard}
    scores = {
        name: rmia_scores(
            target=target[name], references=outside[name], gamma=1.0,
            population_target=target["population"], population_references=outside["population"],
        )
        for name in ("members", "others")
    }  # fmt: skip
    by_scores = loss_threshold_attack(
        member_log_odds=-scores["members"], other_log_odds=-scores["others"],
        false_positive_rate=0.01,
    )  # fmt: skip
    odds = {name: np.log(1 / p - 1) for name, p in target.items()}
    by_loss = loss_threshold_attack(
        member_log_odds=odds["members"], other_log_odds=odds["others"], false_positive_rate=0.01
    )
    assert by_scores.advantage > by_loss.advantage + 0.15
    assert by_scores.true_positive_interval[0] > by_loss.true_positive_interval[1]


def test_scores_of_non_members_are_uniform():
    rng = np.random.default_rng(2)
    names = ("target", "population_target")
    drawn = {name: rng.random(3000) for name in names}
    outside = {"references": rng.random((2, 3000)), "population_references": rng.random((2, 3000))}
    scores = rmia_scores(**drawn, **outside, gamma=1.0)
    assert np.abs(np.quantile(scores, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.04


@pytest.mark.parametrize(
    "bad",
    [{"target": [1.5, 0.1]}, {"references": [0.1, 0.2]}, {"references": [[0.1]]},
     {"population_references": [[0.1], [0.2]]}, {"gamma": 0}, {"a": 2}],
)  # fmt: skip
def test_bad_arguments_are_named(bad):
    good = {
        "target": [0.1, 0.2], "references": [[0.1, 0.3]],
        "population_target": [0.5], "population_references": [[0.4]],
    }  # fmt: skip
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        rmia_scores(**good | bad)
