"""Figures: never empty, the same bytes each time, and a reason where there is nothing to draw."""

import io

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from ft_tf.errors import RunError
from ft_tf.report import figures

PLAIN_CHUNKS = {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def chunks(png):
    found, place = set(), 8
    while place < len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        found.add(png[place + 4 : place + 8])
        place += 12 + size
    return found


def colors_of(png):
    """Palette entries that at least 40 pixels of the figure show."""
    flat = (255 * pixels(png)).round().astype(int).reshape(-1, 3)
    wanted = [tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in figures.PALETTE]
    return {index for index, c in enumerate(wanted) if (flat == c).all(axis=1).sum() >= 40}


@pytest.mark.parametrize("kind", ["gaps", "curves", "parameters", "faults"])
def test_figures_show_each_algorithm_in_its_colour(study, kind):
    png = figures.draw(kind, study, "table_5")
    assert pixels(png).std() > 0.03
    assert colors_of(png) >= ({0, 1} if kind == "gaps" else {0, 1, 2})
    assert chunks(png) <= PLAIN_CHUNKS


def test_circles_have_a_gap_figure(circles, circles_results):
    png = figures.draw("gaps", [circles(results=circles_results)], "table_3")
    assert colors_of(png) >= {0, 1}


def test_the_same_records_give_the_same_bytes_whatever_the_users_style(study):
    first = figures.draw("faults", study, "table_8")
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "savefig.dpi": 30}):
        assert figures.draw("faults", study[::-1], "table_8") == first
        assert matplotlib.rcParams["font.size"] == 20


def test_low_rates_have_a_log_figure(run):
    record = run()
    campaign = record["faults"]["weights"]
    rates = [0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.5, 0.9]
    means = list(np.linspace(0.9, 0.3, len(rates)))
    campaign |= {"rates": rates, "mean": means, "low": means, "high": means}
    png = figures.draw("faults_log", [record], "table_5")
    assert 0 in colors_of(png)


def test_running_accuracy_stands_in_for_missing_curves(run):
    record = run()
    del record["history"]["train_accuracy"], record["history"]["test_accuracy"]
    assert 0 in colors_of(figures.draw("curves", [record], "table_5"))


@pytest.mark.parametrize("kind", list(figures.KINDS))
def test_nothing_to_draw_is_said_instead_of_drawn(kind, failed_run):
    with pytest.raises(RunError, match="table_5: no finished run"):
        figures.draw(kind, [failed_run()], "table_5")


def test_records_without_measures_give_reasons(run):
    bare = run(faults={}, parameters=None, history={})
    images, skipped = figures.draw_all([bare])
    assert list(images) == ["gaps_table_5.png"]
    assert sum("table_5" in line for line in skipped) == 4


def test_runs_beside_the_papers_rows_are_drawn(run):
    images, _ = figures.draw_all([run(row=None, label="mine", parameters=None, history={})])
    assert list(images) == ["gaps_other.png", "faults_other.png"]
    assert all(0 in colors_of(png) for png in images.values())


def test_histories_with_null_are_drawn(run):
    record = run()
    record["history"]["train_accuracy"][0] = None
    assert 0 in colors_of(figures.draw("curves", [record], "table_5"))
