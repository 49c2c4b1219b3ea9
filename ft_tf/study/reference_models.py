"""Membership inference with reference models (RMIA), next to the threshold on the loss.

Reference models are trained as the run is, with other seeds, on training images that the run does
not see. Half of the test images are the non-members, the other half the population that both are
measured against.
"""

import dataclasses

import numpy as np
from scipy import special

from ft_tf import metrics, records
from ft_tf._compat import keras
from ft_tf.data import Dataset
from ft_tf.privacy.membership import loss_threshold_attack
from ft_tf.privacy.reference_attack import rmia_scores
from ft_tf.study import distributed, trainer
from ft_tf.study.config import RunConfig

Split = tuple[np.ndarray, np.ndarray]


def membership_by_references(
    config: RunConfig, model: keras.Model, data: Dataset, unseen: Split
) -> records.ReferenceMembership | None:
    """Trains `config.evaluation.reference_models` models and attacks `model` with their help.

    Args:
        config: of the run.
        model: the trained classifier.
        data: cut as in the run.
        unseen: training images and labels that the run does not see; each reference model is
            trained on a random part of them, as large as the run's if there are enough.

    Returns:
        What they find; None if the configuration asks for none.
    """
    count = config.evaluation.reference_models
    if not count:
        return None
    splits = ((data.x_train, data.y_train), (data.x_test, data.y_test))

    def probabilities(by: keras.Model) -> np.ndarray:
        """Of each label, exp(-loss): members first."""
        size = config.evaluation.batch_size
        odds = [
            metrics.error_log_odds(metrics.predict_logits(by, x, batch_size=size), y)
            for x, y in splits
        ]
        return special.expit(-np.concatenate(odds))

    target, members = probabilities(model), len(data.y_train)
    population = np.zeros(len(target), bool)
    population[members::2] = True
    references = np.stack(
        [probabilities(_reference(config, data, unseen, number)) for number in range(count)]
    )
    scores = rmia_scores(
        target=target[~population],
        references=references[:, ~population],
        population_target=target[population],
        population_references=references[:, population],
    )
    inside, outside = np.split(-scores, [members])
    found = loss_threshold_attack(member_log_odds=inside, other_log_odds=outside)
    names = ("advantage", "true_positive_rate", "true_positive_interval", "others")
    return records.ReferenceMembership(count, **{name: getattr(found, name) for name in names})


def _reference(config: RunConfig, data: Dataset, unseen: Split, number: int) -> keras.Model:
    seed = config.seed + 1_000_003 * (number + 1)  # far from those of other runs
    chosen = np.random.default_rng(seed).permutation(len(unseen[1]))[: len(data.x_train)]
    x, y = (part[chosen] for part in unseen)
    config = dataclasses.replace(
        config,
        seed=seed,
        algorithm=config.algorithm.with_seed(seed),
        batch_size=min(config.batch_size, len(y)),
    )
    trained = trainer.build(config)
    part = dataclasses.replace(data, x_train=x, y_train=y)
    distributed.fit(trained, config, part, first=0, verbose=0, callbacks=[])
    return trainer.evaluation_model(config, trained.model)
