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
