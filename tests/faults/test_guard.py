"""An armed model lets no fault out, whichever way somebody saves it or trains it on."""

import zipfile

import h5py
import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.training import NaturalModel

layers = keras.layers
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(3)]
    )
    model.compile("sgd", LOSS)
    return model


X, Y = np.ones((8, 4), np.float32), np.zeros(8, int)


def itself(model):
    return model


def around(model):
    """A trainer that holds the model."""
    trainer = NaturalModel(model)
    trainer.compile("sgd", LOSS)
    trainer(X)
    return trainer


def beside(model):
    """Another model of the same layers, which has never heard of the armed one."""
    other = keras.Model(model.inputs, model.layers[-1](model.layers[0](model.inputs[0])))
    other.compile("sgd", LOSS)
    return other


def above(model):
    """A model with the armed one as a layer."""
    other = keras.Sequential([model, layers.ReLU()])
    other.compile("sgd", LOSS)
    other(X)
    return other


WAYS_OUT = {
    "h5": lambda model, path: model.save_weights(path / "faulty.h5"),
    "weights.h5": lambda model, path: model.save_weights(path / "faulty.weights.h5"),
    "checkpoint weights": lambda model, path: model.save_weights(path / "faulty"),
    "keras": lambda model, path: model.save(path / "faulty.keras"),
    "checkpoint": lambda model, path: tf.train.Checkpoint(model=model).save(path / "faulty"),
    "of a variable": lambda model, path: tf.train.Checkpoint(v=model.weights[0]).save(path / "v"),
    "saved model": lambda model, path: tf.saved_model.save(model, str(path / "faulty")),
    "fit": lambda model, path: model.fit(X, Y, batch_size=8, verbose=0),
    "train_on_batch": lambda model, path: model.train_on_batch(X, Y),
    "training=True": lambda model, path: model(X, training=True),
}


@pytest.mark.parametrize("holder", [itself, around, beside, above])
def test_every_way_out_is_closed_while_armed_and_open_again_after(model, tmp_path, holder):
    other = holder(model)
    originals = {name: getattr(keras.Model, name) for name in ("fit", "save", "__call__")}
    clean = [weight.tobytes() for weight in model.get_weights()]
    with faults.inject(model, target="weights", rate=0.5, seed=0):
        for name, leave in WAYS_OUT.items():
            try:
                leave(other, tmp_path)
            except ModelError as error:
                assert "armed" in str(error), name
            else:
                pytest.fail(f"{name} let faults out")
        assert other.predict(X, verbose=0).shape == (8, 3)  # to compute is allowed
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [weight.tobytes() for weight in model.get_weights()] == clean
    assert {name: getattr(keras.Model, name) for name in originals} == originals
    other.save_weights(tmp_path / "clean.weights.h5")
    tf.train.Checkpoint(model=other).save(str(tmp_path / "clean"))
    other.fit(X, Y, batch_size=8, verbose=0)


@pytest.mark.parametrize("holder", [itself, beside, above])
@pytest.mark.parametrize("name", ["faulty.h5", "faulty.keras"])
def test_the_function_that_saves_is_refused_too(model, tmp_path, holder, name):
    other = holder(model)
    with faults.inject(model, target="weights", rate=0.5, seed=0):  # noqa: SIM117
        with pytest.raises(ModelError, match="armed"):
            keras.models.save_model(other, tmp_path / name)
    for path in tmp_path.iterdir():  # Keras opens a file before it looks at the model
        if name.endswith(".h5"):
            with h5py.File(path) as file:
                assert "model_weights" not in file
        else:
            assert path.stat().st_size < 200 and not zipfile.is_zipfile(path)


def test_another_model_may_train_and_be_saved_meanwhile(model, tmp_path):
    other = keras.models.clone_model(model)
    other.compile("sgd", LOSS)
    with faults.inject(model, target="units", rate=0.5, seed=0):
        other.fit(X, Y, batch_size=8, verbose=0)
        other.save(tmp_path / "other.keras")
    assert (tmp_path / "other.keras").exists()


def test_a_change_that_would_be_undone_is_not_undone_in_silence(model):
    @tf.function
    def step():  # traced before the block: nothing of it runs in Python any more
        model.weights[0].assign_add(tf.ones_like(model.weights[0]))

    step()
    clean = [weight.tobytes() for weight in model.get_weights()]
    with pytest.raises(ModelError, match=r"kernel.*changed while armed"):  # noqa: SIM117
        with faults.inject(model, target="weights", rate=0.5, seed=0):
            step()
    assert [weight.tobytes() for weight in model.get_weights()] == clean


def test_a_campaign_does_not_let_its_faults_out_either(model, tmp_path):
    def save(row):
        model.save_weights(tmp_path / "faulty.weights.h5")

    with pytest.raises(ModelError, match="armed"):
        faults.sweep(model, X, Y, target="weights", rates=[0.5], trials=1, seed=0, progress=save)
    assert not list(tmp_path.iterdir())
