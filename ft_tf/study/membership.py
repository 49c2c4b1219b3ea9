"""Membership inference on a run's model: by its losses, and with reference models (RMIA).

Reference models are trained as the run is, for as many steps and with the same options, but with
other seeds and on training images that the run does not see. Half of the test images are then the
non-members, the other half the population that both are measured against.
"""

import dataclasses

import numpy as np
from scipy import special

from ft_tf import metrics, records
from ft_tf._compat import keras
from ft_tf.data import Dataset
from ft_tf.privacy.membership import advantage_of_rule, loss_threshold_attack, rmia_scores
from ft_tf.study import trainer
from ft_tf.study.config import RunConfig

Split = tuple[np.ndarray, np.ndarray]
"""Examples and their labels; or their logits, and labels."""


def measure(
    config: RunConfig, data: Dataset, model: keras.Model, unseen: Split, steps: int
) -> records.Membership:
    """How well the losses of all training and test images tell one split from the other.

    `config.evaluation.reference_models`, if any, are each trained for `steps` steps, those of the
    run, on a random part of the `unseen` training images, as large as the run's. Where there are
    fewer images, an epoch has each of them several times.
    """

    def splits(by: keras.Model) -> list[Split]:
        """Logits and labels: members first."""
        size = config.evaluation.batch_size
        return [
            (metrics.predict_logits(by, x, batch_size=size), y) for x, y in (data.train, data.test)
        ]

    target = splits(model)
    references = [
        _probabilities(splits(_reference(config, data, unseen, steps, number)))
        for number in range(config.evaluation.reference_models)
    ]
    found = of_logits(*target)
    if not references:
        return found
    by_references = _by_references(
        _probabilities(target), np.stack(references), members=len(data.y_train)
    )
    return dataclasses.replace(found, by_references=by_references)


def of_logits(train: Split, test: Split) -> records.Membership:
    """How well losses tell training from test images; a pair is logits and labels."""
    members, others = (metrics.error_log_odds(*pair) for pair in (train, test))
    right = [metrics.predicted_labels(logits) == labels for logits, labels in (train, test)]
    found = loss_threshold_attack(member_log_odds=members, other_log_odds=others)
    return records.Membership(
        **dataclasses.asdict(found),
        scale="log-odds",
        advantage_of_correctness=advantage_of_rule(on_members=right[0], on_others=right[1]),
    )


def _probabilities(splits: list[Split]) -> np.ndarray:
    """Of each label, exp(-loss)."""
    return special.expit(-np.concatenate([metrics.error_log_odds(*split) for split in splits]))


def _by_references(
    target: np.ndarray, references: np.ndarray, *, members: int
) -> records.ReferenceMembership:
    population = np.zeros(len(target), bool)
    population[members::2] = True
    scores = rmia_scores(
        target=target[~population],
        references=references[:, ~population],
        population_target=target[population],
        population_references=references[:, population],
    )
    inside, outside = np.split(-scores, [members])
    found = loss_threshold_attack(member_log_odds=inside, other_log_odds=outside)
    names = ("advantage", "true_positive_rate", "true_positive_interval", "others")
    return records.ReferenceMembership(
        len(references), **{name: getattr(found, name) for name in names}
    )


class _StopAfter(keras.callbacks.Callback):
    """Stops after as many steps as a run took that stopped before its last epoch."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if int(self.model.optimizer.iterations) >= self._steps:
            self.model.stop_training = True


def _reference(
    config: RunConfig, data: Dataset, unseen: Split, steps: int, number: int
) -> keras.Model:
    seed = config.seed + 1_000_003 * (number + 1)  # far from those of other runs
    # As many examples as the run's: epochs have the same steps, and learning rates drop after them.
    chosen = np.resize(np.random.default_rng(seed).permutation(len(unseen[1])), len(data.x_train))
    x, y = (part[chosen] for part in unseen)
    config = dataclasses.replace(config, seed=seed, algorithm=config.algorithm.with_seed(seed))
    trained = trainer.build(config)
    part = dataclasses.replace(data, x_train=x, y_train=y)
    trainer.fit(trained, config, part, callbacks=[_StopAfter(steps)])
    if config.weight_noise:
        trainer.add_weight_noise(config, trained.model)
    return trainer.evaluation_model(config, trained.model)
