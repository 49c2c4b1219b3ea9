"""Figures: never empty, the same bytes each time, and a reason where there is nothing to draw."""

import io
import itertools
import re

import matplotlib
import numpy as np
import pytest
from factory import study_of
from matplotlib.figure import Figure
from PIL import Image

from ft_tf.errors import RunError
from ft_tf.report import exhibits, plot_styles
from ft_tf.report.exhibits import ablations, accuracy, fault_tolerance

PLAIN_CHUNKS = {b"IHDR", b"PLTE", b"pHYs", b"IDAT", b"IEND"}
FIRST = {family: colors[0] for family, colors in plot_styles.FAMILIES.items()}


def drawn(records, name):
    """The PNG of the figure with this name."""
    plots = {p.name: p for e in exhibits.of_study(records) for p in e.plots(records)}
    return plot_styles.render(plots[name].draw)["png"]


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


@pytest.fixture(scope="module")
def whole(whole_study):
    return study_of(*whole_study)


@pytest.mark.parametrize("kind", ["curves", "parameters", "faults", "layers", "rescaling"])
def test_figures_show_each_algorithm_in_its_colour(whole, kind):
    png = drawn(whole, f"{kind}_fmnist_dnn")
    assert families_of(png) >= {"natural", "tikhonov", "trades", "dpsgd"}
    assert chunks(png) <= PLAIN_CHUNKS
    assert len(png) < 150_000


@pytest.mark.parametrize(("letters", "columns"), [(8, 3), (24, 2), (55, 1)])
def test_a_legend_lies_within_its_figure(letters, columns):
    figure, axes = plot_styles.panels(1, 1, title="t", width=5.8)
    for letter in "abc":
        axes[0][0].plot([0, 1], [0, 1], label=letter * letters)
    plot_styles.legend_below(figure, axes[0])
    (legend,) = figure.legends
    assert legend._ncols == columns
    assert legend.get_window_extent().width <= figure.bbox.width


def test_fitted_runs_look_different(paper_run):
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
    looks = plot_styles.looks(study_of(*records).groups).values()
    assert len({(look.color, look.marker, look.line) for look in looks}) == 8
    assert {look.color for look in looks} == set(plot_styles.FAMILIES["dpsgd"])


def test_equal_names_look_alike_and_unequal_ones_differ(study):
    by_name = {}
    for look in plot_styles.looks(study_of(*study).trained).values():
        assert by_name.setdefault(look.name, look) == look
    assert len({(look.color, look.marker) for look in by_name.values()}) == len(by_name)


def test_a_setting_has_one_colour_whatever_else_is_drawn(paper_run):
    """TRADES of radius 2/255 had another colour in each figure."""

    def color_of_first(*steps):
        radii = [{"epsilon": step / 255} for step in steps]
        robust = {"row": "table_5/fmnist_dnn/trades", "algorithm": "trades"}
        study = study_of(*(paper_run(**robust, options=radius) for radius in radii))
        looks = plot_styles.looks(study.trained)
        (name,) = [key for key in looks if f'"epsilon": {2 / 255}' in key]
        return looks[name].color

    assert color_of_first(2) == color_of_first(8, 2) == color_of_first(4, 8, 2)


def test_names_at_lines_do_not_overlap_and_follow_the_lines():
    figure, ((axes,),) = plot_styles.panels(1, 1, title="")
    for place in range(6):
        axes.plot([0, 1], [place / 100, place / 100], label=f"line {place}")
    axes.plot([0, 1], [0, 1], label="_unnamed")
    plot_styles.label_lines(axes)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == [f"line {place}" for place in range(6)]
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))


def test_figures_have_at_most_six_series(paper_run):
    """Fitted runs, and DP without privacy, are in the tables."""
    private = {"row": "table_8/fmnist_dnn/dpsgd/0.49", "algorithm": "dpsgd"}
    records = [paper_run(), paper_run(row="table_8/fmnist_dnn/tikhonov", algorithm="tikhonov")]
    for sigma in (0.01, 0.5, 1.0, 2.0, 4.0, 8.0):
        records.append(paper_run(**private, options={"noise_multiplier": sigma}))
        if sigma == 0.01:
            records[-1]["privacy"]["epsilon_claimed"] = 1e5
    records.append(paper_run(**private, options={"noise_multiplier": 3.0}, fitted=True))
    shown = study_of(*records).main_groups("fmnist_dnn")
    sigmas = [group.config["algorithm"].get("noise_multiplier") for group in shown]
    assert len(shown) == 6
    assert 0.01 not in sigmas and 3.0 not in sigmas


def test_gaps_show_the_papers_and_ours(study, circles, circles_results):
    for records, exhibit in ((study, "table_5"), ([circles(results=circles_results)], "table_3")):
        png = drawn(study_of(*records), f"gaps_{exhibit}")
        assert has_color(png, plot_styles.PAPER) and has_color(png, plot_styles.OURS)


def test_ablations_have_rows_for_what_is_there(private_study):
    heights = []
    for without in ((), ("stopped",), ("stopped", "dropout", "aware")):
        left = [r for r in private_study if not any(word in r["rows"][0] for word in without)]
        heights.append(pixels(drawn(study_of(*left), "ablations_fmnist_dnn")).shape[0])
    assert heights[0] > heights[1] > heights[2]
    bare = [r for r in private_study if r["rows"][0].split("/")[2] in ("natural", "dpsgd")]
    with pytest.raises(RunError, match="no figure of ablations for fmnist_dnn"):
        ablations.draw_ablations(study_of(*bare), "fmnist_dnn")


def test_the_tradeoff_has_panels_for_each_architecture(private_study, paper_run):
    one = pixels(drawn(study_of(*private_study), "tradeoff")).shape[1]
    cifar = paper_run(
        row="table_4/cifar10_cnn/natural", architecture="cifar10_cnn", dataset="cifar10"
    )
    png = drawn(study_of(*private_study, cifar), "tradeoff")
    assert pixels(png).shape[1] > 1.7 * one
    assert families_of(png) >= {"natural", "tikhonov", "dpsgd"}


def test_the_log_row_is_there_with_low_rates_and_only_then(private_study, study):
    with_log = pixels(drawn(study_of(*private_study), "faults_fmnist_dnn")).shape[0]
    without = pixels(drawn(study_of(*study), "faults_fmnist_dnn")).shape[0]
    assert with_log > 1.4 * without


def test_rates_below_one_faulty_site_are_no_measurement(paper_run):
    """Of 100,000 sites a rate of 1e-6 has no faulty one: nothing lost there says nothing."""
    study = study_of(paper_run())
    low = fault_tolerance.low_rates(study.fault_curve(study.trained[0], "weights"))
    assert low["rate"].tolist() == [1e-5, 1e-4, 1e-3, 1e-2]
    few = paper_run()
    few["faults"]["weights"]["faults"] = [100 * rate for rate in few["faults"]["weights"]["rates"]]
    study = study_of(few)
    curve = study.fault_curve(study.trained[0], "weights")
    assert not len(fault_tolerance.low_rates(curve))
    axes = Figure().subplots()
    plot_styles.draw_curve(axes, curve, "mean", plot_styles.Look("run", "#000000", "o"))
    assert axes.lines[0].get_xdata().tolist() == [0, 1, *range(10, 100, 10)]


def test_bands_widen_with_the_spread_over_seeds(paper_run):
    """A band's colour is its line's at 12% over white."""

    def band(spread):
        records = [paper_run(seed=s, test=0.85 + spread * s, shift=0.5) for s in range(3)]
        png = drawn(study_of(*records), "faults_fmnist_dnn")
        return int((pixels(png) == round(0.88 * 255)).all(axis=2).sum())

    assert band(0.02) > band(0.004) > 0


def test_the_same_records_give_the_same_bytes_whatever_the_users_style(study):
    first = drawn(study_of(*study), "faults_fmnist_dnn")
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "savefig.dpi": 30}):
        assert drawn(study_of(*study[::-1]), "faults_fmnist_dnn") == first
        assert matplotlib.rcParams["font.size"] == 20


def test_pdf_and_svg_are_the_same_each_time_and_carry_no_date(study):
    found = study_of(*study)

    def draw():
        return accuracy.draw_gaps(found, "table_5", "t")

    first, second = (plot_styles.render(draw, ("png", "pdf", "svg")) for _ in range(2))
    assert first == second
    assert first["pdf"].startswith(b"%PDF") and b"CreationDate" not in first["pdf"]
    assert b"<svg" in first["svg"] and not re.search(rb"<dc:date>", first["svg"])


def test_a_rare_point_keeps_its_colour_among_many_colours():
    """A run may be one point, and the blended edges of many would fill the palette."""

    def draw():
        figure, ((axes,),) = plot_styles.panels(1, 1, title="")
        shades = np.random.default_rng(0).random((40, 40, 3))
        axes.imshow(shades, interpolation="nearest")
        axes.scatter([20], [20], color=plot_styles.FAMILIES["other"][2], s=26)
        return figure

    png = plot_styles.render(draw)["png"]
    assert has_color(png, plot_styles.FAMILIES["other"][2])
    assert len(np.unique(pixels(png).reshape(-1, 3), axis=0)) <= plot_styles.COLORS


def test_histories_with_missing_values_are_drawn(run):
    first, running = run(), run()
    first["history"]["train_accuracy"][0] = None
    del running["history"]["train_accuracy"], running["history"]["test_accuracy"]
    for record in (first, running):
        assert "natural" in families_of(drawn(study_of(record), "curves_fmnist_dnn"))


def test_nothing_to_draw_is_said_instead_of_drawn(run):
    study = study_of(run(faults={}, parameters=None, history={}))
    reasons = []
    for exhibit in exhibits.of_study(study):
        for plot in exhibit.plots(study):
            try:
                plot_styles.render(plot.draw)
            except RunError as error:
                reasons.append((plot.name, str(error)))
    names = [name for name, _ in reasons]
    tables = [f"gaps_table_{number}" for number in (3, 4, 6, 7, 8)]
    kinds = ("curves", "parameters", "rescaling", "faults", "ablations")
    architecture = [f"{kind}_fmnist_dnn" for kind in kinds]
    of_all = ("answer", "private_remedies", "tradeoff")
    assert sorted(names) == sorted([*tables, *architecture, *of_all])
    assert all(
        name.split("_", maxsplit=1)[-1] in text for name, text in reasons if name not in of_all
    )
