"""The numbers that the paper prints, each under an id that records and tables refer to.

An id reads exhibit/architecture/algorithm, with /value added where one algorithm has several
rows: "table_5/fmnist_dnn/trades", "table_8/fmnist_dnn/dpsgd/2.97" and, with its slash replaced,
"table_6/cifar10_cnn/trades/8_255". The architecture `fmnist_cnn` is the convolutional net of the
row, whichever one was run.
"""

import csv
import dataclasses
import decimal
import functools
import importlib.resources
from typing import NamedTuple

from ft_tf.errors import ArgumentError
from ft_tf.report import display_names
from ft_tf.report.display_names import NATURAL, PRIVATE

_PARAMETERS = {"sigma": "sigma", "epsilon_adv": "epsilon", "epsilon_dp": "epsilon"}


class PaperExhibit(NamedTuple):
    """A table or figure of the paper: its title and our description."""

    title: str
    caption: str


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """One printed row; accuracies are fractions, and None or "" is not printed."""

    id: str  # stable name of the row
    exhibit: str  # id of the table or figure
    dataset: str
    architecture: str
    algorithm: str
    # meaning of `value`: "sigma", "epsilon_adv", "epsilon_dp", or the measure "parameter_std" or
    # "accuracy_drop_50_to_90_percent_faults" of Figures 2 and 3
    parameter: str
    value: str  # as printed
    train: float | None  # accuracy on the training split
    test: float | None  # accuracy on the test split
    generalization_error: float | None  # their difference, as printed
    note: str  # a remark on the row

    @property
    def measure(self) -> float | None:
        """The result of a row of Figure 2 (a standard deviation) or 3 (a drop, as a fraction)."""
        if self.parameter == "parameter_std":
            return float(self.value)
        if self.parameter == "accuracy_drop_50_to_90_percent_faults":
            return _fraction(self.value)
        return None

    def is_of(self, table_row: "PaperRow") -> bool:
        """Whether this row of a figure is of the run of that row of a table."""
        known = [name for name in ("algorithm", "dataset", "architecture") if getattr(self, name)]
        is_same = all(getattr(self, name) == getattr(table_row, name) for name in known)
        if not is_same or table_row.dataset == "circles":
            return False
        if self.measure is not None:
            return table_row.exhibit != "table_6" or table_row.value == "8/255"
        return table_row.value == self.value

    @property
    def label(self) -> str:
        """The row's name for people, with the paper's parameter.

        >>> row("table_8/fmnist_dnn/dpsgd/2.97").label
        'DNN DP-SGD (paper: epsilon 2.97)'
        """
        net = display_names.architecture(self.architecture)
        name = f"{net} {display_names.algorithm(self.algorithm)}".strip()
        if self.parameter in _PARAMETERS and self.value and self.algorithm != NATURAL:
            source = "paper: " if self.algorithm == PRIVATE else ""
            name += f" ({source}{_PARAMETERS[self.parameter]} {self.value})"
        return name


EXHIBITS = {
    "table_3": PaperExhibit("Table 3", "Gaussian noise on the inputs, circles"),
    "table_4": PaperExhibit("Table 4", "Robust and regularized training, CIFAR-10"),
    "table_5": PaperExhibit("Table 5", "Robust and regularized training, Fashion-MNIST"),
    "table_6": PaperExhibit("Table 6", "Size of the adversary's ball, CIFAR-10"),
    "table_7": PaperExhibit("Table 7", "Private training of a CNN, Fashion-MNIST"),
    "table_8": PaperExhibit("Table 8", "Private training of an MLP, Fashion-MNIST"),
    "figure_1": PaperExhibit("Figure 1", "Gap at the end of the training curves"),
    "figure_2": PaperExhibit("Figure 2", "Spread of the trained parameters"),
    "figure_3": PaperExhibit("Figure 3", "Accuracy lost between 50% and 90% faults"),
}
TABLES = tuple(id for id in EXHIBITS if id.startswith("table"))
MEASURES = ("train", "test", "generalization_error")
"""What a row of a table prints, and a run measures."""


def _fraction(percent: str) -> float | None:
    return float(decimal.Decimal(percent) / 100) if percent else None


def read_csv(name: str) -> list[dict[str, str]]:
    """Returns the lines of a table that comes with this package."""
    source = importlib.resources.files("ft_tf.report") / name
    return list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))


@functools.cache
def _by_id() -> dict[str, PaperRow]:
    lines = read_csv("paper_numbers.csv")
    parts = [(line["exhibit"], line["architecture"], line["algorithm"]) for line in lines]
    found = {}
    for stem, line in zip(parts, lines, strict=True):
        value = line["value"].replace("/", "_") if parts.count(stem) > 1 else ""
        id = "/".join(filter(None, (*stem, value)))
        found[id] = PaperRow(id, **{**line, **{name: _fraction(line[name]) for name in MEASURES}})
    return found


def all_rows() -> tuple[PaperRow, ...]:
    """Returns every printed row, in the paper's order."""
    return tuple(_by_id().values())


def rows(exhibit: str) -> tuple[PaperRow, ...]:
    """Returns the rows of one exhibit, in the paper's order.

    >>> [row.id for row in rows("figure_3")]
    ['figure_3/tikhonov', 'figure_3/trades']

    Raises:
        ArgumentError: the paper has no such exhibit.
    """
    if exhibit not in EXHIBITS:
        raise ArgumentError(f"exhibit={exhibit!r} must be one of {', '.join(EXHIBITS)}")
    return tuple(row for row in all_rows() if row.exhibit == exhibit)


def row(id: str) -> PaperRow:
    """Returns the row with this id.

    >>> row("table_8/fmnist_dnn/dpsgd/2.97").train
    0.857

    Raises:
        ArgumentError: the paper has no such row.
    """
    if id not in _by_id():
        raise ArgumentError(
            f"row={id!r} is not in the paper; ft_tf.report.paper.all_rows() has them"
        )
    return _by_id()[id]


def is_row(id: str) -> bool:
    """Whether the paper has a row with this id."""
    return id in _by_id()


def place(id: str) -> int:
    """Position of a row in the paper's order; rows that the paper lacks come last."""
    return list(_by_id()).index(id) if is_row(id) else len(_by_id())
