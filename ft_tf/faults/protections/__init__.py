"""Protections against faults, measured like faults: what each costs and what it keeps.

    name               where          what it does
    secded             memory         corrects one bit error in 64 bits, detects two (`Secded`)
    parity             memory         a value with a wrong parity reads as 0 (`Parity`)
    triplication       memory         majority of three copies, also of some layers (`Triplication`)
    range_restriction  model          activations stay within ranges (`RangeRestriction`)
    weight_clipping    model          weights stay within ranges (`WeightClipping`)

A protection of the model is put in by `protect`; one of the memory changes what a fault does, and
is given to `sweep` as part of it: fault=Protected(BitErrors("int8"), Secded()). Another protection
is a subclass of `Protection` and a line: register_protection("name", Class).
"""

from ft_tf.faults.protections.base import (
    Protection,
    protect,
    protection_names,
    protection_of,
    register_protection,
)
from ft_tf.faults.protections.memory import (
    MemoryProtection,
    Parity,
    Protected,
    Secded,
    Triplication,
)
from ft_tf.faults.protections.ranges import RangeGuard, RangeRestriction, WeightClipping
from ft_tf.faults.protections.tradeoff import compare_protections

__all__ = [
    "MemoryProtection",
    "Parity",
    "Protected",
    "Protection",
    "RangeGuard",
    "RangeRestriction",
    "Secded",
    "Triplication",
    "WeightClipping",
    "compare_protections",
    "protect",
    "protection_names",
    "protection_of",
    "register_protection",
]
