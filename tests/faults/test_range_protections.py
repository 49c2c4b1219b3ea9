"""Range restriction and weight clipping: values by hand, files, nested models, sweeps."""

import numpy as np
import pytest

import ft_tf
from ft_tf import faults, metrics
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.faults.protections.base import protection_of
from ft_tf.faults.protections.ranges import RangeGuard

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=(60, 6)).astype(np.float32)
Y = np.arange(60) % 3


def dense(*, softmax=False):
    keras.utils.set_random_seed(2)
    return keras.Sequential([
        keras.Input((6,)),
        keras.layers.Dense(8, "relu", name="a"),
        keras.layers.Dense(8, name="b"),
        keras.layers.Activation("tanh", name="act"),
        keras.layers.Dense(3, "softmax" if softmax else None, name="c"),
    ])  # fmt: skip


def nested():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6,))
    inner = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8, "relu", name="i")], name="in"
    )
    shared = keras.layers.Dense(8, "relu", name="s")
    hidden = keras.layers.Concatenate()([inner(inputs), shared(inputs), shared(inputs * 2.0)])
    return keras.Model(inputs, keras.layers.Dense(3, name="c")(hidden))


def guards(model):
    return {layer.name: layer for layer in model._flatten_layers() if isinstance(layer, RangeGuard)}


def relu(values):
    return np.maximum(values, 0)


def test_ranges_are_those_of_the_training_data_and_include_0():
    model = dense()
    found = guards(faults.protect(model, faults.RangeRestriction(slack=0.0), X))
    assert list(found) == ["a", "act"]  # behind the activation of b; not of the output layer
    a = model.layers[0](X).numpy()
    b = np.tanh(model.layers[1](a).numpy())
    np.testing.assert_allclose(found["a"].output_range, [0, a.max()], rtol=1e-6)
    np.testing.assert_allclose(found["act"].output_range, [b.min(), b.max()], rtol=1e-6)
    with_output = guards(faults.protect(model, faults.RangeRestriction(output_layer=True), X))
    assert list(with_output) == ["a", "act", "c"]
    few = guards(faults.protect(model, faults.RangeRestriction(slack=0.5), np.tile(X, (40, 1))))
    np.testing.assert_allclose(few["a"].output_range, [0, 1.5 * a.max()], rtol=1e-6)


@pytest.mark.parametrize("build", [dense, nested, lambda: dense(softmax=True)])
@pytest.mark.parametrize("name", ["range_restriction", "weight_clipping", "weight_clipping:zero"])
def test_clean_outputs_stay_and_the_file_gives_them_again(build, name, tmp_path):
    model = build()
    protected = faults.protect(model, name, X)
    assert guards(protected)
    np.testing.assert_array_equal(protected.predict(X, verbose=0), model.predict(X, verbose=0))
    protected.save(tmp_path / "model.keras")
    loaded = ft_tf.load_model(tmp_path / "model.keras")
    assert guards(loaded).keys() == guards(protected).keys()
    for variable in loaded.trainable_variables:
        variable.assign(100.0 * variable)
    for variable in protected.trainable_variables:
        variable.assign(100.0 * variable)
    far = protected.predict(X, verbose=0)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), far)


@pytest.mark.parametrize("outside", ["clip", "zero"])
def test_activations_out_of_range_by_hand(outside):
    model = dense()
    protected = faults.protect(model, faults.RangeRestriction(outside), X)
    bounds = {name: guard.output_range for name, guard in guards(protected).items()}
    kernel, bias = (v.numpy() for v in protected.layers[0].weights)
    kernel[:, 0] *= 1e30
    kernel[0, 1] = np.nan
    protected.layers[0].set_weights([kernel, bias])

    def limited(values, low, high):
        if outside == "clip":
            return np.where(np.isnan(values), 0, np.clip(values, low, high))
        return np.where((values >= low) & (values <= high), values, 0)

    with np.errstate(all="ignore"):
        a = X @ kernel + bias
        a = limited(np.where(np.isnan(a), a, relu(a)), *bounds["a"])
    assert (a[:, 0] == (bounds["a"][1] if outside == "clip" else 0)).any()
    rest = [v.numpy() for layer in model.layers[1:] for v in layer.weights]
    b = limited(np.tanh(a @ rest[0] + rest[1]), *bounds["act"])
    np.testing.assert_allclose(
        protected.predict(X, verbose=0), b @ rest[2] + rest[3], rtol=1e-4, atol=1e-5
    )


def test_a_weight_out_of_the_range_at_protection_by_hand():
    model = dense()
    value = model.layers[0].kernel.numpy()
    for outside in ("clip", "zero"):
        protected = faults.protect(model, faults.WeightClipping(outside, slack=0.0), X)
        wrong = value.copy()
        wrong[0, 0], wrong[1, 1], wrong[2, 2] = 50.0, -50.0, np.nan
        protected.layers[0].set_weights([wrong, np.zeros(8)])
        read = value.copy()
        read[0, 0], read[1, 1] = (value.max(), value.min()) if outside == "clip" else (0, 0)
        read[2, 2] = 0
        expected = relu(X @ read)
        first = keras.Model(protected.inputs, protected.layers[0].output)
        np.testing.assert_allclose(first.predict(X, verbose=0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["range_restriction", "weight_clipping"])
@pytest.mark.parametrize("build", [dense, nested, lambda: dense(softmax=True)])
@pytest.mark.parametrize("target", ["weights", "units"])
def test_a_protected_model_has_the_same_sites(build, name, target):
    model = build()
    protected = faults.protect(model, name, X)
    before, after = (faults.find_sites(m, target=target) for m in (model, protected))
    assert [(g.layer, g.shape) for g in before] == [(g.layer, g.shape) for g in after]
    settings = {"target": target, "rates": [0, 0.4], "trials": 5, "seed": 0}
    frames = [faults.sweep(m, X, Y, **settings) for m in (model, protected)]
    assert (frames[0]["faults"] == frames[1]["faults"]).all()
    if build is not nested:  # outputs that were in range stay so, or are clipped a little
        assert np.abs(frames[0]["accuracy"] - frames[1]["accuracy"]).max() < 0.2
    if target == "units" and name == "weight_clipping":  # stuck at 0: no weight leaves its range
        np.testing.assert_array_equal(frames[0]["accuracy"], frames[1]["accuracy"])


def test_a_sweep_of_a_protected_model_is_what_evaluation_under_faults_gives():
    protected = faults.protect(dense(), faults.RangeRestriction("zero"), X)
    fault = faults.BitErrors("float32")
    options = {"target": "weights", "seed": 5, "fault": fault}
    frame = faults.sweep(protected, X, Y, rates=[0.01], trials=3, **options)
    for row in frame.itertuples():
        with faults.inject(protected, rate=0.01, trial=row.trial, **options):
            logits = protected.predict(X, verbose=0)
        assert row.accuracy == np.mean(metrics.predicted_labels(logits) == Y)


def test_both_protections_and_none():
    model = dense()
    both = faults.protect(faults.protect(model, "weight_clipping"), "range_restriction", X)
    np.testing.assert_array_equal(both.predict(X, verbose=0), model.predict(X, verbose=0))
    plain = faults.unwrap(both)
    assert not guards(plain)
    np.testing.assert_array_equal(plain.predict(X, verbose=0), model.predict(X, verbose=0))


def test_a_protected_model_trains():
    protected = faults.protect(dense(), "range_restriction", X)
    protected.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [v.numpy() for v in protected.trainable_variables]
    protected.fit(X, Y, epochs=1, verbose=0)
    assert all(
        (a != b.numpy()).any() for a, b in zip(before, protected.trainable_variables, strict=True)
    )


def test_bad_input():
    with pytest.raises(ArgumentError, match="x_train=None must be training inputs"):
        faults.protect(dense(), "range_restriction")
    with pytest.raises(ArgumentError, match="outside='cut' must be"):
        protection_of("weight_clipping:cut")
    with pytest.raises(ArgumentError, match="slack"):
        faults.WeightClipping(slack=-1.0)


@pytest.mark.parametrize("name", ["range_restriction", "weight_clipping"])
def test_attention_recurrence_and_normalization(name):
    keras.utils.set_random_seed(4)
    inputs = keras.Input((3, 2))
    attended = keras.layers.MultiHeadAttention(2, 3, name="mha")(inputs, inputs)
    hidden = keras.layers.LSTM(4, name="lstm")(attended)
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(5)(hidden))
    hidden = keras.layers.ReLU()(hidden)
    model = keras.Model(inputs, keras.layers.Dense(3)(hidden))
    x = X.reshape(60, 3, 2)
    if name == "weight_clipping":
        with pytest.raises(ModelError, match=r"layer='mha' \(MultiHeadAttention\) computes by"):
            faults.protect(model, name)
        model = keras.Model(attended, model.output)
        x = RANDOM.normal(size=(60, 3, 2)).astype(np.float32)
    protected = faults.protect(model, name, x)
    before, after = model.predict(x, verbose=0), protected.predict(x, verbose=0)
    np.testing.assert_array_equal(after, before)
    fault = faults.BitErrors("float32", bits=(30, 30))  # of small weights: times 2^128
    options = {"target": "weights", "rates": [0.02], "trials": 10, "seed": 0, "fault": fault}
    frames = [faults.sweep(m, x, before.argmax(1), **options) for m in (model, protected)]
    lost = [frame["accuracy_lost"].mean() for frame in frames]
    assert lost[1] < lost[0]
    assert (frames[0]["faults"] == frames[1]["faults"]).all()
