"""The claims of the paper, each as one effect with its intervals and a word (experiments/RULE.md).

From records alone; `ft_tf.report` shows what is found here.

>>> claims = effects.claims(records.load_all(directory))  # doctest: +SKIP
>>> effects.claims_frame(claims)[["sentence", "estimate", "low", "high", "word"]]  # doctest: +SKIP
"""

from ft_tf.effects.findings import noise_walk, premise, remedies
from ft_tf.effects.rule import Claim, Row, claims, claims_frame, other_measures, rows_frame

__all__ = [
    "Claim", "Row", "claims", "claims_frame",
    "noise_walk", "other_measures", "premise", "remedies", "rows_frame",
]  # fmt: skip
