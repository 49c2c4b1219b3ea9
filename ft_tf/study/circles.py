"""Table 3: Gaussian noise on the inputs of circles, all replicates as one computation."""

import dataclasses
import io
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ft_tf import checks, data, records
from ft_tf._compat import threads
from ft_tf.errors import ArgumentError
from ft_tf.study import algorithms
from ft_tf.study import directory as runs
from ft_tf.study.config import check_row
from ft_tf.study.execution import describe
from ft_tf.study.schedule import Job
from ft_tf.training import small_networks as circles
from ft_tf.untrusted import read_npz

FORMS = ("fixed_data", "redrawn_data")
NOISES = (
    "natural", "additive_gaussian", "multiplicative_gaussian", "jacobian_penalty", "tikhonov",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CirclesConfig:
    """All rows of Table 3 in one of its two forms.

    "fixed_data": the paper's 100 points, new initial weights in each replicate. "redrawn_data":
    points drawn anew in each replicate too, the same for every row of the table, and tested on
    10,000 further points.
    """

    form: Annotated[str, partial(checks.check_choice, FORMS)]
    # (row id, one of NOISES, sigma); sigma of "jacobian_penalty" is that of the additive noise that
    # it stands for, and of "tikhonov" the coefficient l2
    rows: tuple[tuple[str, str, float], ...]
    replicates: checks.Positive = 200  # trainings of each row
    epochs: checks.Positive = 4000  # steps, each on the whole of the training points
    learning_rate: checks.AboveZero = 1e-3  # of Adam
    seed: checks.Count = 0  # fixes points, initial weights and noise
    deviations: tuple[str, ...] = ()  # what differs from the paper's setting, as text
    label: str = ""  # in the run's name, such as "smoke"; older records lack it

    def __post_init__(self) -> None:
        checks.check_fields(self)
        if not self.rows:
            raise ArgumentError("rows=() must name at least one row")
        for row, kind, sigma in self.rows:
            check_row(row=row)
            checks.check_choice(NOISES, noise=kind)
            checks.check_non_negative(sigma=sigma)

    @property
    def name(self) -> str:
        """Name of the run's directory."""
        label = f"{self.label}-" if self.label else ""
        size = f"replicates_{self.replicates}-epochs_{self.epochs}-seed_{self.seed}"
        return f"circles-{self.form}-{label}{size}"


def run_circles(
    config: CirclesConfig, output_dir: Path, report: Callable[[float], None] | None = None
) -> records.Circles:
    """Trains and tests every replicate of every row, or returns the record that is there.

    Interrupted, it goes on from the last finished chunk of replicates. The run's own directory is
    made below `output_dir`; `report` is called with the finished share before the first chunk and
    after every one.

    Raises:
        RunError: the directory cannot be written, is in use, or belongs to another config.
    """
    directory = output_dir / config.name
    points, described = _points(config)
    fields = {"name": "circles", **dataclasses.asdict(config), "dataset": "circles"}
    if not config.label:
        del fields["label"]

    def compute() -> dict[str, Any]:
        result = circles.train_circles(
            [_row(kind, sigma) for _, kind, sigma in config.rows],
            **points,
            replicates=config.replicates,
            epochs=config.epochs,
            learning_rate=config.learning_rate,
            seed=config.seed,
            threads=threads(),
            chunks=_KeptChunks(directory / _CHUNKS),
            progress=report,
        )
        accuracies = zip(result.train_accuracy, result.test_accuracy, strict=True)
        return {
            "rows": tuple(row for row, _, _ in config.rows),
            "environment": records.Environment.here(),
            "deviations": config.deviations,
            "replicates": config.replicates,
            "form": config.form,
            "results": {
                row: records.CirclesResult(kind, sigma, tuple(train.tolist()), tuple(test.tolist()))
                for (row, kind, sigma), (train, test) in zip(config.rows, accuracies, strict=True)
            },
        }

    record = runs.recorded(
        records.Circles, directory, config=fields, data=described, compute=compute
    )
    shutil.rmtree(directory / _CHUNKS, ignore_errors=True)
    return record


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
        content = io.BytesIO()
        np.savez(content, train=accuracies[0], test=accuracies[1])
        records.write_text(self._directory / f"{start}.npz", content.getvalue())


def job(config: CirclesConfig, output_dir: Path) -> Job:
    """The table as one job."""
    return Job(
        name=config.name,
        cost=_COST * config.replicates * len(config.rows) * config.epochs,
        is_done=(output_dir / config.name / records.FILE_NAME).exists,
        execute=partial(run_circles, config, output_dir.absolute()),
    )


_COST = 0.3
"""Of one epoch of one network, in the unit of `schedule.training_job`."""


def _row(kind: str, value: float) -> circles.CirclesRow:
    algorithm = algorithms.get(kind)
    options = [field.name for field in dataclasses.fields(algorithm)]
    return circles.CirclesRow(**algorithm(**dict.fromkeys(options, value)).natural_arguments())


def _points(config: CirclesConfig) -> tuple[dict[str, np.ndarray], records.Data]:
    """Training and test points, with the replicate as first axis where each has its own."""
    sets, first = [data.circles()], config.seed * 10**6
    if config.form == "redrawn_data":
        sets = [data.redrawn_circles(first + number) for number in range(config.replicates)]
    arrays = {
        name: np.stack([getattr(points, name) for points in sets])
        for name in ("x_train", "y_train", "x_test", "y_test")
    }
    described = dataclasses.replace(describe(sets[0]), fingerprint=data.fingerprint(**arrays))
    if config.form == "fixed_data":
        arrays = {name: array[0] for name, array in arrays.items()}
    return arrays, described
