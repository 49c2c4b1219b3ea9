"""Table 3: Gaussian noise on the inputs of circles, all replicates as one computation."""

import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ft_tf import checks, data, records
from ft_tf._compat import threads
from ft_tf.errors import ArgumentError
from ft_tf.records import Record
from ft_tf.study import algorithms
from ft_tf.study import directory as runs
from ft_tf.study.execution import count_session, environment
from ft_tf.study.schedule import Job
from ft_tf.training import small_networks as circles
from ft_tf.untrusted import read_npz

FORMS = ("fixed_data", "redrawn_data")
NOISES = (
    "natural",
    "additive_gaussian",
    "multiplicative_gaussian",
    "jacobian_penalty",
    "tikhonov",
)


@dataclasses.dataclass(frozen=True)
class CirclesConfig:
    """All rows of Table 3 in one of its two forms.

    Attributes:
        form: "fixed_data": the paper's 100 points, new initial weights in each replicate;
            "redrawn_data": points drawn anew in each replicate too, the same for every row of the
            table, and tested on 10,000 further points.
        rows: (row id, one of NOISES, sigma); sigma of "jacobian_penalty" is that of the additive
            noise that it stands for, and of "tikhonov" the coefficient l2.
        replicates: trainings of each row.
        epochs: steps, each on the whole of the training points.
        learning_rate: of Adam.
        seed: fixes points, initial weights and noise.
        deviations: what differs from the paper's setting, in words.
    """

    form: str
    rows: tuple[tuple[str, str, float], ...]
    replicates: int = 200
    epochs: int = 4000
    learning_rate: float = 1e-3
    seed: int = 0
    deviations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks.check_choice(FORMS, form=self.form)
        checks.check_positive_integer(replicates=self.replicates, epochs=self.epochs)
        checks.check_positive(learning_rate=self.learning_rate)
        checks.check_non_negative_integer(seed=self.seed)
        if not self.rows:
            raise ArgumentError("rows=() must name at least one row")
        for _, kind, sigma in self.rows:
            checks.check_choice(NOISES, noise=kind)
            checks.check_non_negative(sigma=sigma)

    @property
    def name(self) -> str:
        """Name of the run's directory."""
        size = f"replicates_{self.replicates}-epochs_{self.epochs}-seed_{self.seed}"
        return f"circles-{self.form}-{size}"


def run_circles(
    config: CirclesConfig,
    output_dir: Path,
    *,
    report: Callable[[float], None] | None = None,
) -> records.Circles:
    """Trains and tests every replicate of every row, or returns the record that is there.

    Interrupted, it goes on from the last finished chunk of replicates.

    Args:
        config: of the table.
        output_dir: the run's own directory is made below it.
        report: called with the finished share, before the first chunk and after every one.

    Raises:
        RunError: the directory cannot be written, is in use, or belongs to another config.
    """
    directory = output_dir / config.name
    with runs.claimed(directory):
        points = _Points.of(config)
        fields = {"name": "circles", **dataclasses.asdict(config), "dataset": "circles"}
        runs.bind(directory, {"config": fields, "data": points.description})
        if (directory / records.FILE_NAME).exists():
            return records.load(directory)
        started = time.monotonic()
        sessions = count_session(directory)
        result = circles.train_circles(
            [_row(kind, sigma) for _, kind, sigma in config.rows],
            x_train=points.x_train,
            y_train=points.y_train,
            x_test=points.x_test,
            y_test=points.y_test,
            replicates=config.replicates,
            epochs=config.epochs,
            learning_rate=config.learning_rate,
            seed=config.seed,
            threads=threads(),
            chunks=_KeptChunks(directory / _CHUNKS),
            progress=report,
        )
        record = records.Circles(
            name=directory.name,
            status="finished",
            failure=None,
            rows=tuple(row for row, _, _ in config.rows),
            config=fields,
            data=points.description,
            environment=environment(),
            deviations=config.deviations,
            timing=records.Timing(round(time.monotonic() - started, 1), sessions),
            replicates=config.replicates,
            form=config.form,
            results={
                row: records.CirclesResult(
                    noise=kind,
                    sigma=sigma,
                    train=tuple(result.train_accuracy[index].tolist()),
                    test=tuple(result.test_accuracy[index].tolist()),
                )
                for index, (row, kind, sigma) in enumerate(config.rows)
            },
        )
        records.write(directory, record)
        shutil.rmtree(directory / _CHUNKS, ignore_errors=True)
        return records.load(directory)


_CHUNKS = "chunks"


class _KeptChunks(dict[int, tuple[np.ndarray, np.ndarray]]):
    """Accuracies of finished chunks by first replicate, each in a file of its own as well."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        for path in directory.glob("*.npz"):
            try:
                arrays = read_npz(path, ("train", "test"))
                super().__setitem__(int(path.stem), (arrays["train"], arrays["test"]))
            except (ValueError, OSError):
                continue  # damaged: it is trained again

    def __setitem__(self, start: int, accuracies: tuple[np.ndarray, np.ndarray]) -> None:
        super().__setitem__(start, accuracies)
        self._directory.mkdir(exist_ok=True)
        temporary = self._directory / f".{start}.part"
        with open(temporary, "wb") as file:
            np.savez(file, train=accuracies[0], test=accuracies[1])
        os.replace(temporary, self._directory / f"{start}.npz")


@dataclasses.dataclass(frozen=True)
class _Table:
    config: CirclesConfig
    output_dir: Path

    def __call__(self, report: Callable[[float], None]) -> Record:
        return run_circles(self.config, self.output_dir, report=report)


def job(config: CirclesConfig, output_dir: Path) -> Job:
    """The table as one job."""
    return Job(
        name=config.name,
        cost=_COST * config.replicates * len(config.rows) * config.epochs,
        is_done=(output_dir / config.name / records.FILE_NAME).exists,
        execute=_Table(config, output_dir.absolute()),
    )


_COST = 0.3
"""Of one epoch of one network, in the unit of `jobs.cost`."""


def _row(kind: str, value: float) -> circles.CirclesRow:
    algorithm = algorithms.get(kind)
    options = [field.name for field in dataclasses.fields(algorithm)]
    return circles.CirclesRow(**algorithm(**dict.fromkeys(options, value)).natural_arguments())


@dataclasses.dataclass(frozen=True, eq=False)
class _Points:
    """Training and test points, with the replicate as first axis where each has its own."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    description: records.Data

    @classmethod
    def of(cls, config: CirclesConfig) -> "_Points":
        """The points of a configuration."""
        if config.form == "fixed_data":
            sets = [data.circles()]
        else:
            seeds = range(config.seed * 10**6, config.seed * 10**6 + config.replicates)
            sets = [data.redrawn_circles(seed) for seed in seeds]
        arrays = {
            name: np.stack([getattr(points, name) for points in sets])
            for name in ("x_train", "y_train", "x_test", "y_test")
        }
        description = records.Data(
            name="circles",
            source=sets[0].source,
            fingerprint=data.fingerprint(**arrays),
            train_examples=len(sets[0].x_train),
            test_examples=len(sets[0].x_test),
            notes=tuple(sets[0].notes),
        )
        if config.form == "fixed_data":
            arrays = {name: array[0] for name, array in arrays.items()}
        return cls(**arrays, description=description)
