"""An algorithm, data set, architecture, fault model and exhibit of one's own, in this file alone.

They are registered, and a small study with them runs as `reproduce` runs its own: jobs, records,
faults, attacks and the report, with the chance level of three classes.
"""

import dataclasses
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from absl import flags

from experiments import _app, attack, inject_faults
from ft_tf import architectures, data, executors, faults, records, report
from ft_tf._compat import keras
from ft_tf.faults import catalogue
from ft_tf.report import exhibits
from ft_tf.report.exhibits import number, text
from ft_tf.study import algorithms, datasets, schedule, trained_models
from ft_tf.study.config import Evaluation, RunConfig
from ft_tf.training.natural import NaturalModel

CLASSES = 3


@algorithms.register
@dataclasses.dataclass(frozen=True)
class Shrinking(algorithms.Algorithm):
    """Natural training that pulls the kernels to 0.

    Attributes:
        pull: strength of the pull.
    """

    name: ClassVar[str] = "shrinking"
    label: ClassVar[str] = "shrinking"
    family: ClassVar[str] = "regularised"
    pull: float = 1e-3

    def build(self, model, config):
        return NaturalModel(model, l2=self.pull, seed=config.seed)


def three_stripes():
    """Images of 6 x 6 pixels whose class is the brightest of three stripes."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(CLASSES), 40)
    images = rng.random((len(labels), 6, 6, 1), dtype=np.float32) / 4
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 0.5
    arrays = {"x_train": images[:90], "y_train": labels[:90], "x_test": images[90:]}
    return data.from_arrays("three_stripes", **arrays, y_test=labels[90:], source="made:stripes")


def tiny_net(make):
    return [*make.flatten(), *make.dense(8), *make.logits()]


def whole_model(make):
    inputs = keras.Input(make.input_shape)
    (dense,) = make.dense(8)
    hidden = dense(keras.layers.Flatten()(inputs))
    outputs = keras.layers.Dense(make.classes, kernel_initializer=make.initializer())(hidden)
    return keras.Model(inputs, outputs)


@dataclasses.dataclass(frozen=True)
class Doubled(faults.FaultModel):
    """A faulty value is twice what it was."""

    def corrupt(self, values, words):
        return 2 * values


architectures.register("tiny_net", tiny_net, input_shape=(6, 6, 1), classes=CLASSES, cost=0.001)
architectures.register("whole_model", whole_model)
datasets.register(
    datasets.DataSource(
        "three_stripes", "Three stripes", (6, 6, 1), CLASSES, "tiny_net", three_stripes
    )
)
catalogue.register("doubled", Doubled)


class Pulls(report.Exhibit):
    """A table and a figure of what the pull does."""

    name, title, note = "pulls", "Pull and deviation", "The pull makes kernels small."
    columns = (
        report.Column("run", "run", format=text),
        report.Column("pull", "pull", format=number),
        report.Column("standard_deviation", "deviation of the weights", format=number),
    )

    def frame(self, study):
        runs = study.runs[study.runs["dataset"] == "three_stripes"]
        return runs.rename(columns={"config.algorithm.pull": "pull"})

    def figure(self, study, axes):
        axes.scatter(self.frame(study)["pull"], self.frame(study)["standard_deviation"])


def configurations():
    evaluation = Evaluation(
        fault="doubled", fault_rates=(0.0, 0.5, 1.0), fault_trials=2, layer_rate=0.5,
        attacks=("fgsm",), attack_images=20, attack_sanity=False, membership=True, curve=True,
    )  # fmt: skip
    common = {"dataset": "three_stripes", "epochs": 20, "batch_size": 15, "holdout": 15}
    return [
        RunConfig(
            architecture=datasets.get("three_stripes").architecture,
            algorithm=algorithms.get(name)(),
            evaluation=evaluation,
            **common,
        )
        for name in ("shrinking", "natural", "jacobian_penalty")
    ] + [RunConfig(architecture="whole_model", evaluation=Evaluation(fault_trials=1), **common)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    directory = tmp_path_factory.mktemp("extension")
    dataset = datasets.get("three_stripes").load()
    listed = [schedule.training_job(config, dataset, directory) for config in configurations()]
    return directory, listed, schedule.execute(listed)


def run_binary(module, *arguments):
    _app.define(module.define_flags)
    flags.FLAGS([module.__name__, *map(str, arguments)])
    module.main([])


def test_every_run_has_its_record_and_learned_three_classes(study):
    directory, listed, found = study
    assert [record.status for record in found] == ["finished"] * 4
    assert found == [records.load(directory / job.name) for job in listed]
    for record in found:
        assert record.data.classes == CLASSES
        assert record.data.train_examples == 75
        assert record.accuracy.train > 0.9 and record.accuracy.holdout > 0.8
    name = "three_stripes-tiny_net-shrinking-pull_0.001-holdout_15-epochs_20-seed_0"
    assert listed[0].name == name
    assert found[0].config["algorithm"] == {"name": "shrinking", "pull": 1e-3}


def test_costs_of_jobs_count_classes(study):
    _, listed, _ = study
    assert listed[2].cost == pytest.approx((1 + CLASSES) * listed[1].cost)


def test_the_study_met_the_registered_fault(study):
    _, _, found = study
    assert found[0].config["evaluation"]["fault"] == "doubled"
    campaign = found[0].faults["weights"]
    # Kernel k doubled and bias b doubled, in both layers: positive homogeneity of ReLU makes the
    # logits 4 k2 k1 x + ...: another model, but not that of weights stuck at 0.
    assert campaign.mean[0] == found[0].accuracy.test
    assert campaign.mean[-1] > 1 / CLASSES


def test_binaries_inject_the_registered_fault_into_a_run(study, capsys):
    directory, listed, _ = study
    run = directory / listed[0].name
    run_binary(
        inject_faults, f"--run={run}", "--fault=doubled", "--rates=0,1", "--trials=2",
        "--layer_rate=0", "--target=units",
    )  # fmt: skip
    frame = pd.read_csv(run / "faults-units-doubled-seed_0.csv")
    assert sorted(frame["faults"]) == [0, 0, 8, 8]
    assert "Doubled()" in capsys.readouterr().out


def test_the_chance_level_is_that_of_three_classes(study):
    directory, listed, _ = study
    assert datasets.get("three_stripes").chance == pytest.approx(1 / CLASSES)
    run = trained_models.load_run(directory / listed[0].name)
    frame = faults.sweep(
        run.model,
        run.data.x_test,
        run.data.y_test,
        target="weights",
        rates=[0, 1],
        trials=1,
        seed=0,
    )
    assert frame.attrs["classes"] == CLASSES
    # All weights stuck at 0 guess the first class: nothing is left above chance.
    (left,) = frame.loc[frame["rate"] == 1, "accuracy"]
    assert left == pytest.approx((run.data.y_test == 0).mean()) == pytest.approx(1 / CLASSES)
    figures = faults.curve_figures(frame, classes=frame.attrs["classes"])
    assert (figures.chance, figures.area) == pytest.approx((1 / CLASSES, 0.5))


def test_a_binary_attacks_a_run_and_its_record_shows_it(study):
    directory, listed, found = study
    run = directory / listed[1].name
    run_binary(attack, f"--run={run}", "--attack=pgd", "--steps=3", "--epsilon=0.2", "--images=20")
    (own, later) = records.load(run).robustness
    assert (own.attack, later.attack, later.images) == ("fgsm", "pgd", 20)
    assert later.robust_accuracy <= found[1].accuracy.test


def test_workers_know_the_registered_things(study, tmp_path):
    """They come with the loader, whose module a worker imports."""
    directory, _, _ = study
    dataset = datasets.get("three_stripes").load()
    listed = [schedule.training_job(config, dataset, tmp_path) for config in configurations()[:1]]
    executor = executors.LocalProcesses(workers=1, threads=1)
    (record,) = schedule.execute(listed, executor=executor, output_dir=tmp_path)
    assert record.config == records.load(directory / listed[0].name).config
    assert record.data.classes == CLASSES


@pytest.fixture
def exhibit():
    yield report.register(Pulls())
    exhibits.EXHIBITS.pop("pulls")


@pytest.mark.usefixtures("exhibit")
def test_the_report_shows_the_study_and_the_registered_exhibit(study):
    directory, _, found = study
    written = {path.relative_to(directory).as_posix() for path in report.build(directory)}
    assert {"tables/pulls.csv", "figures/pulls.png", "report.html"} <= written
    assert "[Pull and deviation](tables/pulls.md)" in (directory / "report.md").read_text()
    page = (directory / "tables" / "pulls.md").read_text()
    assert "Pull and deviation" in page and "The pull makes kernels small." in page
    assert "shrinking, pull 0.001; tiny_net; 20 epochs" in page
    frame = pd.read_csv(directory / "tables" / "pulls.csv").set_index("record")
    for record in found:
        deviation = frame.loc[record.name, "standard_deviation"]
        assert deviation == pytest.approx(record.parameters.standard_deviation)
