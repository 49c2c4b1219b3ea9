"""Networks of the package: stored in float16, loaded by name."""

from pathlib import Path

import numpy as np
import pytest

import ft_tf
from ft_tf import architectures, data, metrics
from ft_tf.errors import ModelError
from ft_tf.models import zoo


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "shelf")
    return tmp_path / "shelf"


def test_weights_are_kept_in_float16(shelf):
    model = architectures.build("fmnist_cnn_2", seed=3)
    zoo.store(model, "fmnist_cnn_2/toy")
    assert zoo.names() == ("fmnist_cnn_2/toy",)
    loaded = ft_tf.load_model("fmnist_cnn_2/toy")
    assert len(loaded.weights) == len(model.weights) == 8
    for before, after in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before.astype(np.float16).astype(np.float32))
        assert after.dtype == np.float32


def test_the_same_weights_give_the_same_bytes(shelf):
    stored = [
        zoo.store(architectures.build("fmnist_cnn_2"), "fmnist_cnn_2/toy").read_bytes()
        for _ in range(2)
    ]
    assert stored[0] == stored[1]


@pytest.mark.parametrize("architecture", ["fmnist_cnn_1", "fmnist_dnn"])
def test_other_weights_than_the_architecture_has_are_refused(shelf, architecture):
    with pytest.raises(ModelError, match="needs weights of the shapes"):
        zoo.store(architectures.build("fmnist_cnn_2"), f"{architecture}/toy")
    assert not shelf.exists()


@pytest.mark.parametrize("value", [7e4, np.nan])
def test_what_float16_cannot_hold_is_refused(shelf, value):
    model = architectures.build("fmnist_cnn_2")
    weights = model.get_weights()
    weights[0].flat[5] = value
    model.set_weights(weights)
    with pytest.raises(ModelError, match="float16 cannot hold"):
        zoo.store(model, "fmnist_cnn_2/toy")


def test_damaged_weights_are_named(shelf):
    path = zoo.store(architectures.build("fmnist_cnn_2"), "fmnist_cnn_2/toy")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"model='fmnist_cnn_2/toy' is unreadable .*reinstall"):
        ft_tf.load_model("fmnist_cnn_2/toy")


@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_network_has_learned_fashion_mnist(name):
    fashion = data.load("fashion_mnist", source="embedded-sample")
    assert metrics.accuracy(ft_tf.load_model(name), fashion.x_test, fashion.y_test) > 0.7


def test_the_package_stays_small():
    files = list(zoo.WEIGHTS.glob("*.npz"))
    assert len(files) <= 8 and sum(file.stat().st_size for file in files) < 12e6


def test_results_about_a_shipped_network_go_into_the_working_directory(shelf):
    zoo.store(architectures.build("fmnist_cnn_2"), "fmnist_cnn_2/toy")
    assert zoo.beside(Path("fmnist_cnn_2/toy")) == Path("fmnist_cnn_2-toy")
    assert zoo.beside(Path("fmnist_cnn_2/mine.keras")) == Path("fmnist_cnn_2/mine")
