"""A user's own data: folders of images, TFDS data sets, functions; Pillow and TFDS write them."""

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from ft_tf import data
from ft_tf._compat import tf
from ft_tf.data import own
from ft_tf.errors import ArgumentError, DataError, DataNotFoundError

GRAY = np.arange(20, dtype=np.uint8).reshape(4, 5) * 13
COLOR = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=-1)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path):
    """Two classes of gray and colour images; what is no image or hidden is left out."""
    folder = tmp_path / "photos"
    write(folder / "dog/b.png", GRAY)
    write(folder / "dog/a.PNG", 255 - GRAY)
    write(folder / "cat/c.bmp", COLOR)
    write(folder / "cat/d.png", np.dstack([COLOR, GRAY]))
    (folder / "dog/notes.txt").write_text("no image")
    (folder / "dog/._b.png").write_text("no image either")
    (folder / ".hidden").mkdir()
    return folder


def test_pixels_of_a_folder_are_those_of_the_files(photos):
    found = own.read(photos, shape=(None, None, 3))
    assert (found.name, found.classes, found.notes) == ("photos", ("cat", "dog"), ())
    np.testing.assert_array_equal(found.arrays["y_test"], [0, 0, 1, 1])
    gray = np.stack([GRAY] * 3, axis=-1)
    expected = np.stack([COLOR, COLOR, 255 - gray, gray]) / np.float32(255)
    assert found.arrays["x_test"].dtype == np.float32
    np.testing.assert_array_equal(found.arrays["x_test"], expected)
    assert set(found.arrays) == {"x_test", "y_test"}


@pytest.mark.parametrize("shape", [(4, 5, 1), (4, 5)])
def test_a_model_of_gray_images_gets_gray_ones(photos, shape):
    x = own.read(photos, shape=shape).arrays["x_test"]
    luma = COLOR @ [0.299, 0.587, 0.114] / 255  # ITU-R BT.601
    np.testing.assert_allclose(x[0, ..., 0], luma, atol=1 / 255)
    np.testing.assert_array_equal(x[3, ..., 0], GRAY / np.float32(255))


def test_jpegs_are_read(tmp_path):
    for name, value in (("a/x.jpg", 51), ("b/x.JPEG", 204)):
        write(tmp_path / name, np.full((8, 8), value, np.uint8))
    x = own.read(tmp_path).arrays["x_test"]
    np.testing.assert_allclose(x, np.ones((2, 8, 8, 1)) * [[[[0.2]]], [[[0.8]]]], atol=1 / 255)


def test_train_and_test_share_the_labels(tmp_path):
    for number, name in enumerate(("train/a", "train/b", "train/c", "test/a", "test/c")):
        write(tmp_path / name / "x.png", GRAY + number)
    found = own.read(tmp_path)
    np.testing.assert_array_equal(found.arrays["y_train"], [0, 1, 2])
    np.testing.assert_array_equal(found.arrays["y_test"], [0, 2])
    np.testing.assert_array_equal(255 * found.arrays["x_test"][:, 0, 0, 0], [3, 4])
    dataset = data.load_own(tmp_path, name="mine")
    assert (dataset.source, dataset.x_train.shape) == ("folder:mine", (3, 4, 5, 1))
    np.savez(tmp_path / "same.npz", **found.arrays)
    assert data.load_own(tmp_path / "same.npz").fingerprint == dataset.fingerprint


def test_a_class_called_train_is_a_class(tmp_path):
    for name in ("boat", "train"):
        write(tmp_path / name / "x.png", GRAY)
    assert own.read(tmp_path).classes == ("boat", "train")


def test_images_are_resized_if_all_differ_from_the_model(tmp_path):
    write(tmp_path / "a/x.png", np.full((8, 6), 51, np.uint8))
    write(tmp_path / "b/x.png", np.full((9, 9), 204, np.uint8))
    found = own.read(tmp_path, shape=(4, 3, 1))
    expected = np.broadcast_to(np.array([0.2, 0.8])[:, None, None, None], (2, 4, 3, 1))
    np.testing.assert_allclose(found.arrays["x_test"], expected, atol=1e-6)
    assert found.notes == ("images are resized from 2 sizes to 4 x 3, which the model takes",)
    write(tmp_path / "b/x.png", np.full((9, 9), 255, np.uint8))
    assert own.read(tmp_path, shape=(7, 5, 1)).arrays["x_test"].max() == 1
    half = np.kron(GRAY, np.ones((2, 2), np.uint8))  # each pixel four times: the mean is exact
    for name in "ab":
        write(tmp_path / name / "x.png", half)
    x = own.read(tmp_path, shape=(4, 5, 1)).arrays["x_test"]
    inner = GRAY[1:-1, 1:-1] / 255  # a wide filter sees beyond its pixel, symmetrically
    np.testing.assert_allclose(x[0, 1:-1, 1:-1, 0], inner, atol=0.5 / 255)


def broken(folder):
    (folder / "dog/b.png").write_bytes(b"no image")


def other_size(folder):
    write(folder / "dog/b.png", GRAY[:3])


def only_train(folder):
    (folder / "train").mkdir()
    for name in ("cat", "dog"):
        (folder / name).rename(folder / "train" / name)


def no_images(folder):
    for path in folder.rglob("*.*"):
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (broken, r"dog/b\.png: is no PNG, JPEG or BMP image"),
        (other_size, r"dog/b\.png: its shape is not \(4, 5, 3\)"),
        (only_train, "has a folder train/ with classes, and no test/"),
        (no_images, r"must have one folder of images \(\.png, .*\) per class"),
    ],
)
@pytest.mark.parametrize("shape", [(4, 5, 3), (None, None, 3)])
def test_folders_that_cannot_be_used_are_refused_in_one_line(photos, damage, message, shape):
    damage(photos)
    with pytest.raises(DataError, match=message) as caught:
        own.read(photos, shape=shape)
    assert "\n" not in str(caught.value)


def test_classes_that_a_model_does_not_have_are_said_in_order(photos):
    found = own.read(photos, shape=(4, 5, 3))
    found.check_classes(2)
    with pytest.raises(
        DataError, match="2 folders of classes, .* 10 classes; labels from 0 on are cat, dog"
    ):
        found.check_classes(10)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The arrays of a data set that TFDS wrote, and its directory."""
    place, random = tmp_path_factory.mktemp("tfds"), np.random.default_rng(0)
    features = {"image": tfds.features.Image(shape=(6, 5, 3)),
                "label": tfds.features.ClassLabel(num_classes=4)}  # fmt: skip
    arrays = {}
    for split, count in (("train", 7), ("test", 5), ("extra", 2)):
        arrays[f"x_{split}"] = random.integers(0, 256, (count, 6, 5, 3), np.uint8)
        arrays[f"y_{split}"] = random.integers(0, 4, count)

    def store(name, features, splits):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name, version="1.2.3", data_dir=place,
            features=tfds.features.FeaturesDict(features),
            split_datasets={
                split: tf.data.Dataset.from_tensor_slices(
                    {"image": arrays[f"x_{split}"], "label": arrays[f"y_{split}"]}
                )
                for split in splits
            },
        )  # fmt: skip

    store("tiny", features, ("train", "test", "extra"))
    store("tested", features, ("test",))
    store("trained", features, ("train",))
    store("ragged", features | {"image": tfds.features.Image(shape=(None, None, 3))}, ("test",))
    return arrays, place


def test_a_data_set_of_tfds_is_read_as_tfds_wrote_it(prepared):
    arrays, place = prepared
    found = own.read("tfds:tiny", data_dir=place)
    assert (found.name, found.source) == ("tfds:tiny", "tfds:tiny:1.2.3")
    assert set(found.arrays) == {"x_train", "y_train", "x_test", "y_test"}
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        rows = [(255 * a).round().astype(np.uint8).tobytes() for a in found.arrays[f"x_{split}"]]
        order = [rows.index(image.tobytes()) for image in x]  # TFDS shuffles what it writes
        assert sorted(order) == list(range(len(x)))
        np.testing.assert_array_equal(found.arrays[f"y_{split}"][order], y)
    assert set(own.read("tfds:tested", data_dir=place).arrays) == {"x_test", "y_test"}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("tfds:nothing", DataNotFoundError, "no nothing/VERSION/dataset_info.json.*--download"),
        ("tfds:trained", DataError, "has no split `test`"),
        ("tfds:ragged", DataError, "images must have one size"),
        ("tfds:../tiny", ArgumentError, "must be tfds: and the name of a data set"),
        ("tfds:", ArgumentError, "must be tfds: and the name of a data set"),
    ],
)
def test_a_data_set_that_tfds_cannot_give_is_refused(prepared, name, error, message):
    with pytest.raises(error, match=message) as caught:
        own.read(name, data_dir=prepared[1])
    assert "\n" not in str(caught.value)


MODULE = """
import numpy as np

def load():
    return np.full((2, 3, 3), 51, np.uint8), np.array([0, 1])

def all_four():
    return (*load(), *load())

def three():
    return (*load(), 1)

def fails():
    raise KeyError("nothing\\nhere")
"""


def test_a_function_gives_the_arrays(tmp_path, monkeypatch):
    (tmp_path / "my_own_data.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    found = own.read("my_own_data:load")
    assert (found.name, set(found.arrays)) == ("my_own_data:load", {"x_test", "y_test"})
    np.testing.assert_allclose(found.arrays["x_test"], 0.2)
    assert data.load_own("my_own_data:all_four").x_train.shape == (2, 3, 3, 1)
    with pytest.raises(DataError, match="holds no array 'x_train': training data are needed too"):
        data.load_own("my_own_data:load")
    for name, message in (
        ("my_own_data:three", "must return x_test, y_test or x_test, y_test, x_train, y_train"),
        ("my_own_data:fails", r"cannot be called \(KeyError: 'nothing"),
        ("my_own_data:none", "has no attribute 'none'"),
        ("no_such_module:load", "No module named 'no_such_module'"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            own.read(name)
        assert "\n" not in str(caught.value)
