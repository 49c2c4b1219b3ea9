"""Clipping rules of DP-SGD, one file each; `named` has them by name.

A further rule is a subclass of `Clipping` in its file here, a name in `_RULES`, and a sentence in
`ft_tf.privacy.CLIPPING_RULES`.
"""

from ft_tf import checks
from ft_tf.training.dpsgd.clipping.adaptive import AdaptiveClipping
from ft_tf.training.dpsgd.clipping.automatic import AutomaticClipping
from ft_tf.training.dpsgd.clipping.base import Clipping
from ft_tf.training.dpsgd.clipping.per_layer import PerLayerClipping

_RULES = {
    rule.name: rule for rule in (Clipping, PerLayerClipping, AutomaticClipping, AdaptiveClipping)
}


def named(clipping: str | Clipping) -> Clipping:
    """Returns a rule given as it is, or by its name with the defaults of its class.

    >>> named("automatic")
    AutomaticClipping(gamma=0.01)

    Raises:
        ArgumentError: there is no such rule.
    """
    if isinstance(clipping, Clipping):
        return clipping
    checks.check_choice(_RULES, clipping=clipping)
    return _RULES[clipping]()


__all__ = [
    "AdaptiveClipping",
    "AutomaticClipping",
    "Clipping",
    "PerLayerClipping",
    "named",
]
