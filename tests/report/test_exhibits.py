"""An exhibit is one class: registered, it is on the pages, in the files and in the terminal."""

import pytest
from factory import study_of, typed

from ft_tf import records, report
from ft_tf.report import exhibits, pages
from ft_tf.report.exhibits import Column, Exhibit, count, register, text


@pytest.fixture
def toy():
    class Steps(Exhibit):
        name, title, note = "steps", "Steps of each run", "Optimizer steps."
        columns = (Column("run", "run", format=text), Column("steps", "steps", format=count))

        def frame(self, study):
            return study.runs

        def figure(self, study, axes):
            axes.bar(range(len(study.runs)), study.runs["steps"])

    yield register(Steps())
    exhibits.EXHIBITS.pop("steps")


def test_a_registered_exhibit_is_everywhere(toy, tmp_path, run):
    records.write(tmp_path / "one", typed(run(history={}, parameters=None, faults={})))
    report.build(tmp_path)
    assert "steps" in (tmp_path / "tables" / "steps.csv").read_text().splitlines()[0]
    assert "(tables/steps.md)" in (tmp_path / "report.md").read_text()
    page = (tmp_path / "tables" / "steps.md").read_text()
    assert "| natural; fmnist_dnn; 10 epochs | 240 |" in page
    assert (tmp_path / "figures" / "steps.png").stat().st_size > 1000
    assert 'id="steps"' in (tmp_path / "report.html").read_text()
    assert "Steps of each run" in report.render_terminal(records.load_all(tmp_path), ["steps"])
    latex = report.render_latex(records.load_all(tmp_path), ["steps"], command="c")
    assert r"\caption{Steps of each run. Optimizer steps.}" in latex


def test_the_pages_have_all_exhibits_in_order(whole_study):
    names = [exhibit.name for exhibit in exhibits.of_study(study_of(*whole_study))]
    assert names[:4] == ["findings", "claims", "claims_rows", "agreement_by_data"]
    tables = [f"table_{number}" for number in range(3, 9)]
    assert names[4:11] == ["agreement", *tables]
    assert len(names) == len(set(names))
    assert {"layers_fmnist_dnn", "tradeoff", "robustness", "membership", "orderings"} <= set(names)
    assert "other" not in names  # no run without a row


def test_runs_without_a_row_have_a_table(run):
    study = study_of(run(row=None, label="mine", parameters=None, history={}, faults={}))
    composed = pages.compose(study)
    sections = {section.name: section for section in composed.sections}
    assert len(sections["other"].table.rows) == 1
    assert [image.name for image in sections["other"].images] == ["gaps_other"]


def test_a_row_that_is_missed_has_its_known_cause(run):
    records = [
        run(row="table_5/fmnist_dnn/natural", train=0.90, test=0.88),
        run(row="table_5/fmnist_dnn/tikhonov", algorithm="tikhonov", train=0.9099, test=0.877),
    ]
    frame = exhibits.EXHIBITS["agreement"].frame(study_of(*records)).set_index("row")
    missed, met = (frame.loc[f"table_5/fmnist_dnn/{name}"] for name in ("natural", "tikhonov"))
    assert missed["word"] == "not replicated" and met["word"] == "replicated"
    assert missed["cause"].startswith("the paper gives neither optimizer nor epochs")
    assert met["cause"] == ""


def test_agreement_says_what_the_presets_alone_replicate_and_which_setting_is_shown(run):
    row = "table_5/fmnist_dnn/natural"  # the paper: 98.83 and 90.23
    records = [
        run(row=row, train=0.90, test=0.88, label="table_5-paper"),
        run(row=row, train=0.985, test=0.90, label="a_plan-cell"),
    ]
    records[1]["config"]["batch_size"] = 99
    exhibit = exhibits.EXHIBITS["agreement"]
    frame = exhibit.frame(study_of(*records))
    line = frame.set_index("row").loc[row]
    assert (line["word"], line["presets_word"]) == ("replicated", "not replicated")
    assert line["setting"].endswith("a_plan-cell") and line["variants"] == 2
    (note,) = exhibit.notes(frame)
    assert "none of later plans, 0 of 31 rows are replicated" in note
    alone = exhibit.frame(study_of(records[1])).set_index("row").loc[row]
    assert alone["presets_word"] == "not attempted"
    # The plan tutorial_cnn has the labels of the presets, whose runs it trains on another net.
    records[0]["config"]["architecture"] = "fmnist_cnn_2_tutorial"
    of_plan = exhibit.frame(study_of(records[0])).set_index("row").loc[row]
    assert of_plan["presets_word"] == "not attempted"
