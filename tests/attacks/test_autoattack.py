import numpy as np
import pytest

from ft_tf import attacks
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError


@keras.saving.register_keras_serializable("tests")
class Rounded(keras.layers.Layer):
    """Coarse activations: right and wrong answers as before, gradients exactly zero."""

    def call(self, inputs):
        return tf.round(inputs * 16) / 16


@keras.saving.register_keras_serializable("tests")
class AlwaysNoisy(keras.layers.Layer):
    """Adds noise at inference as well."""

    def call(self, inputs):
        return inputs + 0.3 * tf.random.normal(tf.shape(inputs))


def classifier(*last, hidden=(), classes=5, seed=0):
    model = keras.Sequential(
        [
            keras.layers.Input((6, 6, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(24, activation="relu"),
            *hidden,
            keras.layers.Dense(classes),
            *last,
        ]
    )
    rng = np.random.default_rng(seed)
    model.set_weights(
        [rng.standard_normal(w.shape).astype(np.float32) for w in model.get_weights()]
    )
    return model


def labelled(model, examples=60, seed=1):
    x = np.random.default_rng(seed).random((examples, 6, 6, 1)).astype(np.float32)
    return x, model.predict(x, verbose=0).argmax(1)


QUICK = {"num_steps": 15, "queries": 100, "targets": 4}


@pytest.mark.parametrize(("norm", "epsilon"), [("Linf", 0.03), ("L2", 0.12)])
def test_it_is_at_least_as_strong_as_each_of_its_parts(norm, epsilon):
    model = classifier()
    x, y = labelled(model)
    whole = attacks.autoattack(model, x, y, epsilon=epsilon, norm=norm, **QUICK)
    distance = whole.parameters["distance"]
    parts = [
        attacks.apgd(model, x, y, epsilon=epsilon, distance=distance, num_steps=15, targets=4),
        attacks.fab(model, x, y, epsilon=epsilon, distance=distance, num_steps=15, targets=4),
        attacks.square(model, x, y, epsilon=epsilon, distance=distance, queries=100),
    ]
    assert 0 < whole.robust_accuracy < 1
    assert whole.robust_accuracy <= min(part.robust_accuracy for part in parts)
    names = [stage["attack"] for stage in whole.parameters["stages"]]
    assert names == ["APGD-CE", "APGD-T", "FAB-T", "Square"]
    accuracies = [stage["accuracy"] for stage in whole.parameters["stages"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] == whole.robust_accuracy
    delta = (whole.adversarial - x).reshape(len(x), -1)
    lengths = np.linalg.norm(delta, np.inf if norm == "Linf" else 2, axis=1)
    assert lengths.max() <= epsilon * (1 + 1e-5)
    assert whole.adversarial.min() >= 0 and whole.adversarial.max() <= 1
    broken = whole.adversarial[whole.success]
    assert (model.predict(broken, verbose=0).argmax(1) != y[whole.success]).all()


@pytest.mark.parametrize("place", ["hidden", "logits"])
def test_square_finds_out_a_model_whose_gradients_are_masked(place):
    model = classifier(hidden=[Rounded()]) if place == "hidden" else classifier(Rounded())
    x, y = labelled(model)
    result = attacks.autoattack(model, x, y, epsilon=0.1, **QUICK | {"queries": 400})
    after = {stage["attack"]: stage["accuracy"] for stage in result.parameters["stages"]}
    assert after["FAB-T"] >= 0.7
    assert after["Square"] < after["FAB-T"] - 0.2
    assert any("gradients are masked" in warning for warning in result.warnings)
    plain = attacks.autoattack(classifier(), x, y, epsilon=0.1, **QUICK)
    assert not any("masked" in warning for warning in plain.warnings)


@pytest.mark.parametrize(
    ("classes", "names"),
    [(2, ["APGD-CE", "APGD-MARGIN", "FAB-T", "Square"]),
     (3, ["APGD-CE", "APGD-DLR", "FAB-T", "Square"])],
)  # fmt: skip
def test_few_classes_take_the_losses_that_they_have(classes, names):
    model = classifier(classes=classes)
    x, y = labelled(model)
    result = attacks.autoattack(model, x, y, epsilon=0.03, **QUICK)
    assert [stage["attack"] for stage in result.parameters["stages"]] == names


def test_averaging_over_passes_beats_one_pass_on_a_randomised_model():
    model = classifier(AlwaysNoisy())
    x, _ = labelled(model)
    y = classifier().predict(x, verbose=0).argmax(1)
    result = attacks.autoattack(model, x, y, epsilon=0.03, version="rand", num_steps=10)
    names = [stage["attack"] for stage in result.parameters["stages"]]
    assert names == ["APGD-CE", "APGD-DLR"]
    assert any("differently each time" in warning for warning in result.warnings)
    # The mean over many passes at the points found: worse than on the clean images.
    quiet = classifier()
    moved = quiet.predict(result.adversarial, verbose=0).argmax(1)
    assert np.mean(moved == y) < 0.7


def test_an_interrupted_run_continues_to_the_same_result(tmp_path):
    model = classifier()
    x, y = labelled(model)
    whole = attacks.autoattack(model, x, y, epsilon=0.03, **QUICK)
    place = tmp_path / "state.npz"
    lines = []

    def stop_after_two(line):
        lines.append(line)
        if len(lines) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attacks.autoattack(
            model, x, y, epsilon=0.03, **QUICK, resume=place, progress=stop_after_two
        )
    rest = []
    again = attacks.autoattack(
        model, x, y, epsilon=0.03, **QUICK, resume=place, progress=rest.append
    )
    assert [line.split(":")[0] for line in rest] == ["FAB-T", "Square"]
    np.testing.assert_array_equal(again.success, whole.success)
    np.testing.assert_array_equal(again.adversarial, whole.adversarial)
    assert list(tmp_path.iterdir()) == []


def test_what_was_kept_for_another_model_is_refused(tmp_path):
    model, other = classifier(), classifier(seed=9)
    x, y = labelled(model)
    place = tmp_path / "state.npz"

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attacks.autoattack(model, x, y, epsilon=0.03, **QUICK, resume=place, progress=stop)
    with pytest.raises(ArgumentError, match="is of another model"):
        attacks.autoattack(other, x, y, epsilon=0.03, **QUICK, resume=place)
    place.write_bytes(b"PK damaged")
    with pytest.raises(ArgumentError, match="cannot be read"):
        attacks.autoattack(model, x, y, epsilon=0.03, **QUICK, resume=place)
    with place.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ArgumentError, match="cannot be read"):
        attacks.autoattack(model, x, y, epsilon=0.03, **QUICK, resume=place)


def test_a_file_to_resume_from_is_checked_before_any_attack(tmp_path):
    model = classifier()
    x, y = labelled(model, examples=2)
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "state.npz"):
        lines = []
        with pytest.raises(ArgumentError, match=r"^resume=.*: name another file$"):
            attacks.autoattack(
                model, x, y, epsilon=0.03, **QUICK, resume=place, progress=lines.append
            )
        assert lines == []
    with pytest.raises(ArgumentError, match="resume=3 must be a path"):
        attacks.autoattack(model, x, y, epsilon=0.03, **QUICK, resume=3)
    made = tmp_path / "new" / "state.npz"
    attacks.autoattack(model, x, y, epsilon=0.03, **QUICK, resume=made)
    assert list(made.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": "l_1"}, "norm='l_1'"),
        ({"version": "plus"}, "version='plus'"),
        ({"queries": 0}, "queries=0"),
        ({"restarts": True}, "restarts=True"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    model = classifier()
    x, y = labelled(model, examples=2)
    with pytest.raises(ArgumentError, match=message):
        attacks.autoattack(model, x, y, epsilon=0.03, **arguments)


def test_by_name_the_norm_and_the_steps_arrive():
    model = classifier()
    x, y = labelled(model, examples=10)
    options = {"epsilon": 0.05, "distance": "l_2", "sanity": False}
    result = attacks.evaluate(
        model, x, y, attack="autoattack", steps=5, queries=20, targets=2, **options
    )
    assert result.parameters["num_steps"] == 5 and result.parameters["distance"] == "l_2"
    result = attacks.evaluate(model, x, y, attack="square", queries=20, **options)
    assert result.parameters["queries"] == 20
    with pytest.raises(ArgumentError, match="steps=7 must be 1 for square"):
        attacks.evaluate(model, x, y, attack="square", steps=7, **options)
