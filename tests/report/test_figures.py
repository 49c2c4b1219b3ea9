"""Figures: never empty, the same bytes each time, and a reason where there is nothing to draw."""

import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ft_tf.errors import RunError
from ft_tf.report import figures
from ft_tf.report.figures import looks, style
from ft_tf.report.figures.tradeoff import kind_colors
from ft_tf.report.groups import groups_by_row

PLAIN_CHUNKS = {b"IHDR", b"PLTE", b"pHYs", b"IDAT", b"IEND"}
FIRST = {family: colors[0] for family, colors in looks.FAMILIES.items()}


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def chunks(png):
    found, place = set(), 8
    while place < len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        found.add(png[place + 4 : place + 8])
        place += 12 + size
    return found


def has_color(png, color, *, least=30):
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return (pixels(png) == wanted).all(axis=2).sum() >= least


def families_of(png):
    """Families whose first colour at least 30 pixels of the figure show."""
    return {family for family, color in FIRST.items() if has_color(png, color)}


@pytest.mark.parametrize("kind", ["curves", "parameters"])
def test_figures_of_a_table_show_each_algorithm_in_its_colour(study, kind):
    png = figures.draw(kind, study, "table_5")
    assert families_of(png) >= {"natural", "tikhonov", "trades"}
    assert chunks(png) <= PLAIN_CHUNKS


@pytest.mark.parametrize(("letters", "columns"), [(8, 3), (24, 2), (55, 1)])
def test_a_legend_lies_within_its_figure(letters, columns):
    figure, axes = style.panels(1, 1, title="t", width=5.8)
    for letter in "abc":
        axes[0][0].plot([0, 1], [0, 1], label=letter * letters)
    style.legend_below(figure, axes[0])
    (legend,) = figure.legends
    assert legend._ncols == columns
    assert legend.get_window_extent().width <= figure.bbox.width


def test_what_was_fitted_looks_otherwise(paper_run):
    records = [
        paper_run(
            row="table_8/fmnist_dnn/dpsgd/0.49",
            algorithm="dpsgd",
            options={"noise_multiplier": sigma},
            fitted=fitted,
        )
        for sigma in (5.0, 1.1, 0.5, 0.05)
        for fitted in (False, True)
    ]
    groups = [group for found in groups_by_row(records).values() for group in found]
    found = [(look.color, look.marker, look.style) for look in looks.looks(groups).values()]
    assert len(set(found)) == 8
    assert len({color for color, _, _ in found}) >= 7


def test_gaps_show_the_papers_and_ours(study, circles, circles_results):
    for records, exhibit in ((study, "table_5"), ([circles(results=circles_results)], "table_3")):
        png = figures.draw("gaps", records, exhibit)
        assert has_color(png, FIRST["trades"]) and has_color(png, looks.FAMILIES["dpsgd"][1])


@pytest.mark.parametrize("kind", ["faults", "layers", "rescaling"])
def test_figures_of_an_architecture_show_every_algorithm_dp_included(private_study, kind):
    png = figures.draw(kind, private_study, "fmnist_dnn")
    assert families_of(png) >= {"natural", "tikhonov", "dpsgd"}
    assert has_color(png, looks.FAMILIES["dpsgd"][1])  # the second noise multiplier


def test_arms_have_rows_for_what_is_there(private_study):
    heights = []
    for without in ((), ("stopped",), ("stopped", "dropout", "aware")):
        kept = [r for r in private_study if not any(word in r["rows"][0] for word in without)]
        heights.append(pixels(figures.draw("arms", kept, "fmnist_dnn")).shape[0])
    assert heights[0] > heights[1] > heights[2]
    bare = [r for r in private_study if r["rows"][0].split("/")[2] in ("natural", "dpsgd")]
    with pytest.raises(RunError, match="no arm beside its rows"):
        figures.draw("arms", bare, "fmnist_dnn")


def test_the_tradeoff_shows_both_data_sets(private_study, paper_run):
    one = pixels(figures.draw("tradeoff", private_study, "all")).shape[0]
    cifar = paper_run(
        row="table_4/cifar10_cnn/natural", architecture="cifar10_cnn", dataset="cifar10"
    )
    png = figures.draw("tradeoff", [*private_study, cifar], "all")
    assert pixels(png).shape[0] > 1.4 * one
    assert families_of(png) >= {"natural", "tikhonov", "dpsgd", "other"}


def test_the_log_row_is_there_with_low_rates_and_only_then(private_study, study):
    with_log = pixels(figures.draw("faults", private_study, "fmnist_dnn")).shape[0]
    without = pixels(figures.draw("faults", study, "fmnist_dnn")).shape[0]
    assert with_log > 1.4 * without


def test_bands_widen_with_the_spread_over_seeds(paper_run):
    """A band's colour is its line's at 12% over white."""

    def band(spread):
        records = [paper_run(seed=s, test=0.85 + spread * s, shift=0.5) for s in range(2)]
        png = figures.draw("faults", records, "fmnist_dnn")
        return int((pixels(png) == round(0.88 * 255)).all(axis=2).sum())

    assert band(0.02) > band(0.004) > 0


def test_the_same_records_give_the_same_bytes_whatever_the_users_style(study):
    first = figures.draw("faults", study, "fmnist_dnn")
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "savefig.dpi": 30}):
        assert figures.draw("faults", study[::-1], "fmnist_dnn") == first
        assert matplotlib.rcParams["font.size"] == 20


def test_the_palette_keeps_frequent_colours_and_moves_rare_ones_to_the_nearest():
    generator = np.random.default_rng(0)
    image = np.zeros((40, 40, 3), np.uint8)
    image[:20] = (213, 94, 0)
    image[20:30] = generator.integers(0, 255, (10, 40, 3))  # 400 colours, each once
    image[30, 0] = (213, 94, 1)
    found = np.asarray(style._with_palette(Image.fromarray(image)).convert("RGB"))
    assert (found[:20] == (213, 94, 0)).all()
    assert (found[31:] == 0).all()
    assert abs(found[30, 0].astype(int) - (213, 94, 1)).max() <= 1
    assert len(np.unique(found.reshape(-1, 3), axis=0)) <= style.COLORS


def test_running_accuracy_stands_in_for_missing_curves(run):
    record = run()
    del record["history"]["train_accuracy"], record["history"]["test_accuracy"]
    assert "natural" in families_of(figures.draw("curves", [record], "table_5"))


def test_histories_with_null_are_drawn(run):
    record = run()
    record["history"]["train_accuracy"][0] = None
    assert "natural" in families_of(figures.draw("curves", [record], "table_5"))


@pytest.mark.parametrize("kind", list(figures.KINDS))
def test_nothing_to_draw_is_said_instead_of_drawn(kind, failed_run):
    subject = {"exhibit": "table_5", "architecture": "fmnist_dnn", "all": "all"}
    wanted = subject[figures.KINDS[kind].per]
    with pytest.raises(RunError, match=wanted):
        figures.draw(kind, [failed_run()], wanted)


def test_records_without_measures_give_reasons(run):
    drawn, skipped = figures.draw_all([run(faults={}, parameters=None, history={})])
    assert [figure.name for figure in drawn] == ["gaps_table_5.png"]
    assert sum("table_5" in line for line in skipped) == 2
    assert sum("fmnist_dnn" in line for line in skipped) == 4


def test_runs_beside_the_papers_rows_are_drawn(run):
    drawn, _ = figures.draw_all([run(row=None, label="mine", parameters=None, history={})])
    names = [figure.name for figure in drawn]
    assert names == ["gaps_other.png", "faults_fmnist_dnn.png", "tradeoff.png"]


def test_every_figure_says_where_it_belongs(whole_study):
    drawn, _ = figures.draw_all(whole_study)
    sections = {figure.name: figure.section for figure in drawn}
    assert sections["faults_fmnist_dnn.png"] == "figure_3"
    assert sections["rescaling_fmnist_dnn.png"] == "figure_2"
    assert sections["layers_fmnist_dnn.png"] == "layers_fmnist_dnn"
    assert sections["arms_fmnist_dnn.png"] == "arms"
    assert sections["curves_table_5.png"] == "table_5"
    assert max(len(figure.png) for figure in drawn) < 150_000


def test_equal_names_look_alike_and_unequal_ones_differ(study):
    groups = [group for found in groups_by_row(study).values() for group in found]
    trained = [g for g in groups if g.finished and g.any_record["kind"] == "run"]
    found = looks.looks(trained)
    by_name = {}
    for look in found.values():
        assert by_name.setdefault(look.name, look) == look
    colors = [look.color for look in by_name.values()]
    assert len(set(colors)) == len(colors)


def test_arms_are_no_main_rows():
    assert looks.is_main("table_8/fmnist_dnn/dpsgd/0.49")
    assert looks.is_main("table_5/fmnist_dnn/trades_normalized_example")
    assert looks.is_main("other/mine")
    for row in (
        "dpsgd_clip_only",
        "dpsgd_noise_only/0.49",
        "natural_dropout",
        "natural_stopped/2e6",
    ):
        assert not looks.is_main(f"table_8/fmnist_dnn/{row}")


def test_a_rare_point_keeps_its_colour_among_many_colours():
    """A run may be one point, and so many edges are blended that they would fill the palette."""

    def draw():
        figure, ((axes,),) = style.panels(1, 1, title="")
        shades = np.random.default_rng(0).random((40, 40, 3))
        axes.imshow(shades, interpolation="nearest")
        axes.scatter([20], [20], color=looks.FAMILIES["fitted"][2], s=26)
        return figure

    assert has_color(style.render(draw), looks.FAMILIES["fitted"][2])


def test_no_two_kinds_of_the_tradeoff_look_the_same():
    count = len(looks.FAMILIES["trades"]) + 2
    frame = pd.DataFrame(
        {"kind": [f"TRADES {number}" for number in range(count)], "epsilon": [None] * count}
    )
    assert len(set(kind_colors(frame).values())) == count
