"""The answer: its numbers are those of effects, its words have colours, its pages are short."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factory import study_of, typed

from ft_tf import effects, records, report
from ft_tf.report import exhibits, pages, table
from ft_tf.report.exhibits import agreement, claims
from ft_tf.report.tidy import Study

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


@pytest.fixture(scope="module")
def study():
    return Study(records.load_all(RESULTS))


def sentences(study):
    return list(claims.Findings().frame(study)["finding"])


def numbers(text):
    return [float(found) for found in re.findall(r"[+-]?\d+\.\d+", text)]


def test_the_table_has_the_numbers_of_effects(study):
    shown = claims.Claims().table(study)
    for row, claim in zip(shown.rows, effects.claims(study.records), strict=True):
        cells = dict(zip((column.header for column in shown.columns), row.cells, strict=True))
        digits = 2 if claim.id == "premise" else 1
        known = [v for v in (claim.estimate, claim.low, claim.high) if not np.isnan(v)]
        assert numbers(cells["effect [95%], points"]) == [round(value, digits) for value in known]
        assert cells["claim"] == claim.sentence and cells[""] == claim.word
        assert (cells["networks"], cells["n"]) == (str(claim.networks), str(claim.trainings))


def test_points_lost_under_dp_are_recomputed_from_the_record_files(study):
    """The mean over networks of the mean over settings of the mean over seeds, from JSON alone."""
    lines = []
    for path in RESULTS.glob("*/record.json"):
        record = records.read_json(path)
        config = record["config"]
        if record["kind"] != "run" or record["status"] != "finished" or config.get("fitted"):
            continue
        if not record["rows"]:  # of a plan beyond the paper
            continue
        campaign = record["faults"]["weights"]
        at = campaign["rates"].index(0.1)
        lost = campaign.get("lost") or {}
        value = lost["mean"][at] if lost else campaign["mean"][0] - campaign["mean"][at]
        exhibit, _, algorithm, *row = record["rows"][0].split("/")
        epsilon = (record["privacy"] or {}).get("epsilon_claimed")
        epsilon = epsilon and round(epsilon, 6)  # of machines that differ in the last digits
        lines.append((exhibit, config["architecture"], algorithm, *(row or [""]), config["seed"],
                      record["accuracy"]["test"], epsilon, value))  # fmt: skip
    columns = ["exhibit", "network", "algorithm", "row", "seed", "test", "epsilon", "lost"]
    frame = pd.DataFrame(lines, columns=columns)
    private = frame[(frame["algorithm"] == "dpsgd") & (frame["epsilon"] <= 25)]
    stopped = frame[frame["algorithm"] == "natural_stopped"]
    pairs = private.merge(stopped, on=["exhibit", "network", "seed"], suffixes=("", "_stopped"))
    pairs["apart"] = (pairs["test"] - pairs["test_stopped"]).abs()
    keys = ["network", "epsilon", "seed"]
    nearest = pairs.sort_values("apart").drop_duplicates(keys)
    nearest = nearest[nearest["apart"] <= 0.01 + 1e-9]
    effect = 100 * (nearest["lost"] - nearest["lost_stopped"])
    by_setting = effect.groupby([nearest["network"], nearest["epsilon"]]).mean()
    expected = by_setting.groupby("network").mean().mean()
    (sentence,) = [text for text in sentences(study) if "Differential privacy" in text]
    assert f"DP-SGD (epsilon of at most 25) loses {expected:.1f} points of accuracy" in sentence
    assert f"({nearest['network'].nunique()} networks, {len(nearest)} pairs of" in sentence


def test_the_error_of_the_noise_walk_is_recomputed_from_the_record_files(study):
    """Of the private runs of one network: sqrt(sd_clip^2 + (lr sigma C / L)^2 T)."""
    measured = {}
    for path in RESULTS.glob("*fmnist_cnn_1-dpsgd-sigma_*-clip_1-*/record.json"):
        record = records.read_json(path)
        config = record["config"]
        if not record["rows"]:  # of a plan alone
            continue
        noise = config["algorithm"]["noise_multiplier"] * config["algorithm"]["l2_norm_clip"]
        step = config["learning_rate"] * noise / config["batch_size"]
        walk = step * record["training"]["steps"] ** 0.5
        measured[record["name"]] = walk, record["parameters"]["standard_deviation"]
    (clip,) = [deviation for walk, deviation in measured.values() if not walk]
    frame = study.computed(effects.noise_walk).set_index("record")
    for name, (walk, deviation) in measured.items():
        error = deviation / np.hypot(clip, walk) - 1
        assert frame.loc[name, "relative_error"] == pytest.approx(error, abs=1e-9)
    (sentence,) = [text for text in sentences(study) if "random walk" in text]
    errors = frame["relative_error"].abs()
    assert f"all weights to {errors.max():.1%} in" in sentence


def test_findings_hold_the_counts_and_tau_of_effects(study):
    rows = study.computed(agreement.agreement)
    count = rows["word"].value_counts()["replicated"]
    assert sentences(study)[-1].startswith(
        f"{count} of the paper's {len(rows)} rows are replicated"
    )
    claim = next(claim for claim in study.computed(effects.claims) if claim.id == "premise")
    (sentence,) = [text for text in sentences(study) if "paper's premise" in text]
    assert f"lost is {claim.estimate:+.2f} [{claim.low:+.2f}, {claim.high:+.2f}]" in sentence
    # An interval without 0 that Holm's correction takes back is not left unexplained.
    is_taken_back = claim.word == "inconclusive" and claim.low * claim.high > 0
    assert (f"By Holm over the claims p is {claim.p_holm:.2f}." in sentence) == is_taken_back
    assert len(sentences(study)) == 7
    assert all(f"{row.estimate:+.2f}" in sentence for row in claim.rows)
    lines = pd.read_csv(RESULTS / "tables" / "orderings.csv").query("form == 'redrawn_data'")
    drawn = (lines["verdict"] == "reversed").sum(), len(lines)
    assert "drawn points {} of Table 3's {} orderings".format(*drawn) in sentences(study)[-1]


def test_the_finding_on_trades_has_the_areas_of_the_other_measures(study):
    (sentence,) = [text for text in sentences(study) if text.startswith("Adversarial")]
    frame = effects.other_measures(study.records).set_index(["algorithm", "measure"])
    for name in ("weights", "units"):
        line = frame.loc[("trades", f"normalized area, {name}")]
        ends = f"[{-line.high:.1f}, {-line.low:.1f}]"
        points = f"{-line.estimate:.1f}{' points' * (name == 'units')}"
        assert line.estimate < 0 and f"{points} {ends} less ({name})" in sentence


def test_the_terminal_shows_the_first_sentence_of_each_finding(study):
    records = [*study.records, *study.aside]
    shown = " ".join(report.render_answer(records, 100).split())
    for finding in sentences(study):
        first, *rest = re.split(r"(?<=\.) (?=[A-Z])", finding)
        assert f"* {first}" in shown
        assert not [sentence for sentence in rest if sentence in shown]


def test_other_measures_and_remedies_are_those_of_effects(study):
    rows = claims.OtherMeasures().table(study).rows
    frame = effects.other_measures(study.records)
    assert [row.cells[2] for row in rows] == [f"{value:+.1f}" for value in frame["estimate"]]
    with_dropout = claims.Remedies().table(study).rows[0]
    first = effects.remedies(study.records).iloc[0]
    assert with_dropout.cells[2:4] == (f"{first.lost:.2f}", f"{first.lost_without:.2f}")


def test_rows_by_data_set_add_up(study):
    frame = agreement.AgreementByData().frame(study).set_index("dataset")
    words = ["replicated", "not replicated", "not attempted"]
    rows = study.computed(agreement.agreement)
    assert frame[words].to_numpy().sum() == len(rows) == 31
    rows = rows[rows["dataset"] == "cifar10"]
    error = (rows["gap"] - rows["gap_paper"]).astype(float).abs().mean()
    assert frame.loc["cifar10", "gap_mean_absolute_error"] == pytest.approx(error)


def test_without_records_it_says_so():
    empty = study_of()
    assert sentences(empty) == ["No claim has an interval yet: each needs matched seeds."]
    assert {row.cells[-1] for row in claims.Claims().table(empty).rows} == {"inconclusive"}
    text = report.render_answer([])
    assert "No claim has an interval yet" in text


def test_a_negative_effect_of_dp_reads_less():
    claim = effects.Claim("dp_tolerance", "s", "m", -1, 5.0, -7.0, -9.0, -5.5, word="supported")
    walk, rows = effects.noise_walk([]), agreement.agreement([])
    (sentence,) = claims.sentences([claim], walk, rows)
    assert sentence.startswith("Differential privacy raises fault tolerance: ")
    assert "loses 7.0 points of accuracy [5.5, 9.0] less than" in sentence
    claim = dataclasses.replace(claim, low=-9.0, high=1.0, word="inconclusive")
    (sentence,) = claims.sentences([claim], walk, rows)
    assert sentence.startswith("Differential privacy and fault tolerance: inconclusive: with 10%")
    assert "7.0 points of accuracy [-1.0, 9.0] less" in sentence


@pytest.mark.parametrize("word", ["supported", "contradicted", "no difference", "mixed",
                                  "inconclusive"])  # fmt: skip
def test_each_word_has_its_colour(word, study):
    frame = claims.Claims().frame(study).assign(word=word)
    shown = table.make_table(frame, claims.Claims.columns, "t")
    assert f"| {table.MARKS[word]} {word} |" in table.markdown(shown)
    composed = pages.compose(study_of())
    css = pages.html(composed, {})
    assert re.search(rf"\.{word.replace(' ', '-')}[ ,]", css)


def test_a_word_in_the_html_page_carries_its_class():
    page = pages.html(pages.compose(study_of()), {})
    assert 'class="word inconclusive"' in page


def test_a_hostile_name_stays_text(run, tmp_path):
    hostile = "<script>x<script>[a](http:b)|`&#"
    record = run(row=f"other/{hostile}", label=hostile, parameters=None, history={}, faults={})
    record["name"] = hostile
    records.write(tmp_path / "one", typed(record))
    for path in report.build(tmp_path):
        if path.suffix in (".md", ".html"):
            text = path.read_text()
            assert "<script" not in text, path
            assert path.suffix == ".html" or "[a](http" not in text, path


def test_numbers_beyond_1000_points_say_why_there_is_none():
    assert table.percent(51374596642.3798) == "- (beyond 1000)"
    assert table.percent(9.99) == "999.00"


def test_every_exhibit_of_the_answer_prints_as_latex(study):
    latex = report.render_latex(study.records, ["claims", "agreement", "agreement_by_data"],
                                command="c")  # fmt: skip
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 3
    body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert body.count(r"\\") == 9
    assert not re.search(r"(?<!\\)[&%_#]\d", latex.replace(" & ", ""))


def test_the_committed_pages_are_short(study, tmp_path):
    text = (RESULTS / "report.md").read_text()
    assert len(text.splitlines()) <= 400
    answer = report.render_answer([*study.records, *study.aside], 100)
    assert len(answer.splitlines()) <= 37  # the binary adds two lines and a blank one
    assert max(map(len, answer.splitlines())) <= 100
    # `reproduce` at quick scale, which runs no CIFAR-10, adds a line for each of 25 runs, three
    # before and four after.
    quick = [record for record in study.records if not record.name.startswith("cifar10")]
    rows = report.render_answer(quick, 100, has_rows=True)
    assert len(rows.splitlines()) <= 80 - 25 - 3 - 4
    readme = (RESULTS.parents[1] / "README.md").read_text()
    for finding in sentences(study):
        headline, rest = re.split(r"(?<=:) |(?<=\.) (?=[A-Z])", finding, maxsplit=1)
        for page in (text, readme):
            assert f"\n- **{headline}** {rest}\n" in page


@pytest.mark.slow
def test_the_page_with_every_figure_is_below_3_megabytes(study):
    composed = pages.compose(study)
    places = {record.name: f"{record.name}/record.json" for record in study.records}
    assert len(pages.html(composed, places).encode()) < 3_000_000
    assert {"findings", "claims"} <= {exhibit.name for exhibit in exhibits.of_study(study)}
