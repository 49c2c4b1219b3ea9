"""Hooks, walks and the table of layers."""

import numpy as np
import pytest

from ft_tf import keras_layers
from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.keras_layers import table

L = keras.layers


class Pair(L.Layer):
    """A user's own layer of two Keras layers."""

    def __init__(self):
        super().__init__(name="pair")
        self.one, self.two = L.Dense(3, name="one"), L.Dense(3, name="two")

    def call(self, inputs):
        return self.one(inputs) + self.two(inputs)


def nested():
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3, name="inside")], name="inner")
    start = keras.Input((4,))
    attention = L.MultiHeadAttention(1, 2, name="attention")
    hidden = attention(
        L.Reshape((1, 3), name="row")(inner(start)), L.Reshape((1, 3), name="again")(inner(start))
    )
    return keras.Model(start, L.Dense(2, name="end")(Pair()(L.Flatten(name="flat")(hidden))))


def test_the_walk_goes_into_models_and_into_a_users_own_layers():
    names = [layer.name for layer in keras_layers.leaf_layers(nested())]
    assert names == ["inside", "row", "again", "attention", "flat", "one", "two", "pair", "end"]


def test_the_innermost_layers_compute_with_their_own_weights():
    names = [layer.name for layer in keras_layers.innermost_layers(nested())]
    assert [*names[:3], *names[-3:]] == ["inside", "row", "again", "flat", "pair", "end"]
    assert {"query", "key", "value", "attention_output"} <= set(names[3:-3])
    assert "attention" not in names


def test_hooks_see_every_call_and_are_taken_off_again():
    model = nested()
    seen = []

    def note(layer, index, inputs, outputs):
        seen.append((layer.name, index))
        return 2.0 * outputs if layer.name == "end" else outputs

    x = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    clean = model(x).numpy()
    with keras_layers.hooked(model, note):
        doubled = model(x).numpy()
    np.testing.assert_array_equal(doubled, 2 * clean)
    assert seen.count(("inside", 0)) == seen.count(("inside", 1)) == 1
    assert [name for name, _ in seen][-4:] == ["one", "two", "pair", "end"]
    np.testing.assert_array_equal(model(x), clean)
    assert not any("call" in vars(layer) for layer in keras_layers.all_layers(model))


def test_hooks_on_a_quantised_layer_sit_where_it_computes():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    model.quantize("int8")
    with keras_layers.hooked(model, lambda layer, index, inputs, outputs: outputs * 0):
        assert not np.any(model(np.ones((2, 4), np.float32)))
    assert np.any(model(np.ones((2, 4), np.float32)))


def test_the_table_names_layers_that_exist_with_a_row_each():
    names = [name for names in table._ROWS for name in names.split()]
    assert len(names) == len(set(names)) == len(table._TABLE)


class Bold(L.Dense):
    """A subclass of Dense with a call of its own."""

    def call(self, inputs):
        return super().call(inputs) + 1


def test_a_subclass_has_units_and_no_columns():
    assert keras_layers.facts_of(L.Dense(3)).columns
    assert keras_layers.facts_of(Bold(3)).units
    assert not keras_layers.facts_of(Bold(3)).columns


def test_parameters_are_what_was_learned():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3), L.BatchNormalization(), L.Dense(2)])
    model.layers[0].trainable = False
    model.layers[2].enable_lora(1)

    def names():
        return [v.name for v in keras_layers.parameters_of(model)]

    learned = [
        "kernel",
        "bias",
        "gamma",
        "beta",
        "kernel",
        "bias",
        "lora_kernel_a",
        "lora_kernel_b",
    ]
    assert names() == learned
    model.quantize("float8")
    assert not [name for name in names() if "amax" in name or "scale" in name]


class Doubling(keras.Model):
    def call(self, inputs):
        return tf.cast(inputs, tf.float32) * 2


def test_what_a_subclassed_model_takes_is_what_it_was_given():
    model = Doubling()
    with pytest.raises(ModelError, match="call it once"):
        keras_layers.input_spec(model)
    keras_layers.remember_input(model, np.zeros((5, 7), np.int32))
    assert keras_layers.input_spec(model) == tf.TensorSpec((None, 7), tf.int32)


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False, "epsilon": 1e-4}])
def test_a_fused_normalization_computes_the_same(options):
    norm = L.BatchNormalization(**options)
    model = keras.Sequential([keras.Input((4, 4, 3)), norm, L.Flatten(), L.Dense(2)])
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 2, w.shape) for w in model.get_weights()])
    x = rng.normal(size=(5, 4, 4, 3)).astype(np.float32)
    kept = lambda layer, index, inputs, outputs: outputs  # noqa: E731
    with keras_layers.hooked(model, kept, fuse=True):
        graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(x).graph
        fused = model(x, training=False).numpy()
    assert "FusedBatchNormV3" in {operation.type for operation in graph.get_operations()}
    np.testing.assert_allclose(fused, model(x, training=False), rtol=1e-5, atol=1e-6)
