"""What ft_tf knows of Keras's layers: walks, hooks on their calls, and one table of facts.

>>> from ft_tf._compat import keras
>>> facts_of(keras.layers.Dense(3)).units, facts_of(keras.layers.Dropout(0.5)).same_values
(True, True)
"""

from ft_tf.keras_layers.graph import chain_of, inputs_of, output_shape_of
from ft_tf.keras_layers.hooks import Call, attribute, hooked, infer, replaced_calls
from ft_tf.keras_layers.parts import Part, inner_parts
from ft_tf.keras_layers.specs import input_spec, remember_input
from ft_tf.keras_layers.table import (
    Facts,
    activation_name,
    facts_of,
    is_of_keras,
    keeps_zero,
    kind_of,
)
from ft_tf.keras_layers.walks import (
    all_layers,
    calls_parts,
    innermost_layers,
    is_composite,
    leaf_layers,
    parameters_of,
    transposed_kernels,
    variables_of,
)

__all__ = [
    "Call",
    "Facts",
    "Part",
    "activation_name",
    "all_layers",
    "attribute",
    "calls_parts",
    "chain_of",
    "facts_of",
    "hooked",
    "infer",
    "inner_parts",
    "innermost_layers",
    "input_spec",
    "inputs_of",
    "is_composite",
    "is_of_keras",
    "keeps_zero",
    "kind_of",
    "leaf_layers",
    "output_shape_of",
    "parameters_of",
    "remember_input",
    "replaced_calls",
    "transposed_kernels",
    "variables_of",
]
