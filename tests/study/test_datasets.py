"""Data sets of runs: the registry, the user's own, and references that reach other processes."""

import dataclasses
import pickle

import numpy as np
import pytest

from ft_tf import data
from ft_tf.errors import ArgumentError, DataError
from ft_tf.study import config as c
from ft_tf.study import datasets


def toy(classes=3, name="toy_stripes", size=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((4 * classes, size, size, 1), dtype=np.float32)
    y = np.tile(np.arange(classes), 4)
    return data.from_arrays(name, x_train=x, y_train=y, x_test=x[::2], y_test=y[::2], source="toy")


def source(loader=toy, name="toy_stripes", classes=3):
    return datasets.DataSource(name, "Toy stripes", (6, 6, 1), classes, "dnn", loader)


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(datasets, "_SOURCES", dict(datasets._SOURCES))


def test_the_published_data_sets_say_what_they_are():
    assert [datasets.get(name).label for name in ("fashion_mnist", "cifar10")] == [
        "Fashion-MNIST", "CIFAR-10",
    ]  # fmt: skip
    for name in ("fashion_mnist", "cifar10"):
        known = datasets.get(name)
        assert (known.classes, known.chance, len(known.class_names)) == (10, 0.1, 10)
        c.RunConfig(dataset=name, architecture=known.architecture)


def test_a_registered_data_set_is_known_to_configurations_with_its_chance():
    with pytest.raises(ArgumentError, match="dataset='toy_stripes' must be one of fashion_mnist"):
        c.RunConfig(dataset="toy_stripes", architecture="dnn")
    datasets.register(source())
    assert datasets.get("toy_stripes").chance == pytest.approx(1 / 3)
    assert datasets.get("toy_stripes").load().num_classes == 3
    c.RunConfig(dataset="toy_stripes", architecture="dnn")
    with pytest.raises(ArgumentError, match="architecture='fmnist_dnn' does not take"):
        c.RunConfig(dataset="toy_stripes", architecture="fmnist_dnn")
    with pytest.raises(ArgumentError, match="augment=True cannot be used with dataset='toy_str"):
        c.RunConfig(dataset="toy_stripes", architecture="dnn", augment=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [("fashion_mnist", "the name of a published"), ("a/b", "must be of letters"), ("", "''")],
)
def test_names_that_cannot_be_used_are_refused(name, message):
    with pytest.raises(ArgumentError, match=message):
        datasets.register(source(name=name))


SHAPE = "was registered with images of shape"


@pytest.mark.parametrize(
    ("change", "message"),
    [({"classes": 4}, SHAPE), ({"name": "other"}, "use one name in both"), ({"size": 7}, SHAPE)],
)
def test_a_loader_that_gives_something_else_is_refused(change, message):
    registered = datasets.register(source(loader=lambda: toy(**change)))
    with pytest.raises(DataError, match=message):
        registered.load()


def test_a_reference_reaches_another_process_and_registers_what_it_refers_to():
    datasets.register(source())
    sent = pickle.dumps(datasets.DatasetRef(toy(), None))
    datasets._SOURCES.pop("toy_stripes")
    found = pickle.loads(sent).get()
    assert found.fingerprint == toy().fingerprint
    assert "toy_stripes" in datasets.names()


def test_a_reference_to_other_data_is_refused():
    datasets.register(source())
    sent = pickle.dumps(datasets.DatasetRef(dataclasses.replace(toy(), fingerprint="0" * 64), None))
    with pytest.raises(DataError, match="all must see the same files"):
        pickle.loads(sent).get()


def save(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (8, 5, 4), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2, 0, 1]),
        "x_test": rng.integers(0, 256, (3, 5, 4), dtype=np.uint8),
        "y_test": np.array([0, 2, 1]),
    } | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return arrays


def test_a_file_of_bytes_is_scaled_and_gets_a_channel(tmp_path):
    arrays = save(tmp_path / "my-data.npz")
    registered = datasets.register_own(tmp_path / "my-data.npz")
    assert (registered.name, registered.shape, registered.classes) == ("my_data", (5, 4, 1), 3)
    assert registered.architecture == "dnn"
    found = registered.load()
    np.testing.assert_allclose(found.x_train[..., 0], arrays["x_train"] / 255, atol=1e-7)
    np.testing.assert_array_equal(found.y_test, arrays["y_test"])
    assert found.source == "npz:my_data"


def test_a_file_of_fashion_mnist_s_shape_takes_its_architecture(tmp_path):
    x = np.zeros((4, 28, 28, 1), np.float32)
    y = np.array([0, 1, 1, 0], np.uint8)
    save(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert datasets.register_own(tmp_path / "mine.npz").architecture == "fmnist_dnn"


class Evil:
    def __reduce__(self):
        return print, ("executed",)


REFUSED = {
    "missing": ({"y_test": None}, "holds no array 'y_test'"),
    "wide": ({"x_train": np.full((8, 5, 4), 2.0)}, "pixels must lie in"),
    "nan": ({"x_test": np.full((3, 5, 4), np.nan)}, "x_test ranges over"),
    "integers": ({"x_train": np.zeros((8, 5, 4), np.int64)}, "x_train.dtype=int64 must be uint8"),
    "flat": ({"x_train": np.zeros((8, 20))}, r"x_train.shape=\(8, 20\)"),
    "length": ({"y_train": np.arange(7) % 3}, "x_train has 8 rows, y_train has 7 rows"),
    "one_hot": ({"y_test": np.eye(3, dtype=np.int64)}, r"y_test.shape=\(3, 3\)"),
    "negative": ({"y_train": np.arange(8) % 3 - 1}, r"y_train\[0\]=-1 must be a label"),
    "gap": ({"y_train": np.array([0, 2] * 4)}, "y_train has no label 1"),
    "one_class": ({"y_train": np.zeros(8, int), "y_test": np.zeros(3, int)}, "two classes"),
    "strings": ({"y_train": np.array(["a"] * 8)}, "values of type <U1 and no numbers"),
    "fractions": ({"y_train": np.arange(8) % 3 / 2}, "must be an integer type"),
    "pickle": ({"y_train": np.array([Evil()] * 8)}, "holds Python objects and no numbers"),
    "empty": ({"y_train": np.zeros(0, int), "x_train": np.zeros((0, 5, 4))}, "at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arrays_that_cannot_be_used_are_refused_in_one_line(tmp_path, capfd, case):
    changes, message = REFUSED[case]
    save(tmp_path / "mine.npz", **changes)
    with pytest.raises((ArgumentError, DataError), match=message) as caught:
        data.load_own(tmp_path / "mine.npz")
    assert "\n" not in str(caught.value) and "mine.npz" in str(caught.value)
    assert "executed" not in capfd.readouterr().out


def test_files_that_are_no_archives_or_too_large_are_refused(tmp_path, monkeypatch):
    (tmp_path / "text.npz").write_text("no archive")
    save(tmp_path / "large.npz")
    monkeypatch.setattr(data.own, "MAX_BYTES", 100)
    for name, message in (
        ("text.npz", "not a zip file"),
        ("none.npz", "No such file"),
        ("large.npz", "more than 100"),
        (".", "must have one folder of images"),
    ):
        with pytest.raises(DataError, match=message):
            data.load_own(tmp_path / name)


def test_a_worker_loads_a_data_set_once_for_all_its_tasks():
    """Each task arrives with its own copy of the source, whose loader may be a partial."""
    sample = datasets.get("fashion_mnist").load(source="embedded-sample")
    sent = pickle.dumps(datasets.DatasetRef(sample, None))
    first, second = (pickle.loads(sent).get() for _ in range(2))
    assert first is second
