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
    assert names[4:12] == ["agreement", "disagreements", *tables]
    assert len(names) == len(set(names))
    assert {"layers_fmnist_dnn", "tradeoff", "robustness", "membership", "orderings"} <= set(names)
    assert "other" not in names  # no run without a row


def test_runs_without_a_row_have_a_table(run):
    study = study_of(run(row=None, label="mine", parameters=None, history={}, faults={}))
    composed = pages.compose(study)
    sections = {section.name: section for section in composed.sections}
    assert len(sections["other"].table.rows) == 1
    assert [image.name for image in sections["other"].images] == ["gaps_other"]


def test_disagreements_are_the_largest_and_name_what_was_tried(run):
    records = [
        run(row="table_5/fmnist_dnn/natural", train=0.95, test=0.90),  # 5.00, printed 8.60
        run(row="table_5/fmnist_dnn/natural", train=0.98, test=0.90, label="b"),  # nearer: 8.00
        run(row="table_5/fmnist_dnn/tikhonov", algorithm="tikhonov", train=0.9, test=0.88),
        run(row="table_5/fmnist_dnn/trades", algorithm="trades", train=0.9, test=0.9, fitted=True),
    ]
    found = exhibits.EXHIBITS["disagreements"].frame(study_of(*records)).to_dict("records")
    differences = [line["generalization_error_difference"] for line in found]
    assert differences == pytest.approx([0.02 - 0.0329, 0.08 - 0.0860])
    assert "-3.60 points (n=1)" in found[1]["tried"] and "-0.60 points" in found[1]["tried"]
    assert found[0]["cause"].startswith("the paper gives neither optimizer nor epochs")
