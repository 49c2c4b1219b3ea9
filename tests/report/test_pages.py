"""The files of a report: complete, linked, self-contained, the same bytes each time."""

import html.parser
import re
import subprocess
import sys
import urllib.parse

import pandas as pd
import pytest
from factory import typed

from ft_tf import records, report
from ft_tf.errors import ArgumentError, RunError
from ft_tf.report import exhibits, paper

UNDRAWN = {"history": {}, "parameters": None, "faults": {}}  # only the gap figure is left
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Checker(html.parser.HTMLParser):
    """Collects what a page holds; `open` is empty at the end of a well-formed page."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.images, self.ids, self.links, self.text = [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if "href" in attrs else []

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def write_study(directory, study):
    for record in study:
        records.write(directory / record["name"], typed(record))


@pytest.fixture(scope="module")
def built(tmp_path_factory, whole_study):
    directory = tmp_path_factory.mktemp("built")
    write_study(directory, whole_study)
    return directory, report.build(directory)


def parsed(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    return checker


def test_all_files_are_written(built):
    directory, files = built
    names = [path.relative_to(directory).as_posix() for path in files]
    assert names[:2] == ["report.md", "report.html"]
    assert len(set(names)) == len(names)
    for exhibit in paper.EXHIBITS:
        assert f"tables/{exhibit}.csv" in names and f"tables/{exhibit}.md" in names
    assert {"figures/faults_fmnist_dnn.png", "figures/gaps_table_3.png"} <= set(names)
    assert {"tables/fault_curves.csv", "tables/ablations.md"} <= set(names)
    assert all(path.stat().st_size for path in files)
    assert [path for path in directory.rglob(".*") if path.name != ".lock"] == []


def test_the_markdown_pages_lead_to_every_file_and_hold_provenance(built):
    directory, files = built
    text = (directory / "report.md").read_text()
    targets = set(re.findall(r"\]\(((?:tables|figures)/[^)]+)\)", text))
    written = {path.relative_to(directory).as_posix() for path in files}
    assert targets == written - {"report.md", "report.html"}
    provenance = (directory / "tables" / "provenance.md").read_text()
    assert "note on fashion_mnist" in provenance
    assert "epsilon 5.25 at delta 1e-05 &lt;own&gt;." in provenance
    assert "loss is NaN (epoch 3, step 71)" in provenance
    for page in (text, provenance):
        assert str(directory) not in page
        assert "\n\n\n" not in page


def test_a_page_of_an_exhibit_shows_its_figures(built):
    directory, _ = built
    text = (directory / "tables" / "tradeoff.md").read_text()
    (place,) = re.findall(r"\]\((\.\./figures/[^)]+)\)", text)
    assert (directory / "tables" / place).is_file()
    assert text.index(place) < text.index("| run |")


def test_the_html_page_is_one_file_without_scripts(built):
    directory, _ = built
    text = (directory / "report.html").read_text()
    checker = parsed(text)
    assert checker.open == []
    assert "http" not in text.replace("http-equiv", "")
    assert "script" not in checker.tags and "link" not in checker.tags
    assert "{{" not in text and "{%" not in text
    assert len(checker.images) == len(list((directory / "figures").iterdir()))
    assert all(image["src"].startswith("data:image/png;base64,") for image in checker.images)
    assert all(image["alt"] for image in checker.images)
    inside = {link.removeprefix("#") for link in checker.links if link.startswith("#")}
    assert inside <= set(checker.ids)
    assert len(checker.ids) == len(set(checker.ids))
    assert "epsilon 5.25 at delta 1e-05 <own>." in "".join(checker.text)
    assert "<own>" not in text
    assert str(directory) not in text


def test_the_html_page_links_to_every_record_and_csv(built):
    directory, _ = built
    links = parsed((directory / "report.html").read_text()).links
    outside = {urllib.parse.unquote(link) for link in links if not link.startswith("#")}
    assert all((directory / link).is_file() for link in outside)
    found = {records.load(directory / link).name for link in outside if "record.json" in link}
    assert found == {record.name for record in records.load_all(directory)}
    tables = {link for link in outside if link.endswith(".csv")}
    assert {"tables/claims.csv", "tables/table_5.csv", "tables/robustness.csv"} <= tables


HOSTILE = "<script>alert('x')</script> <img src=x> & \"q\" {{ 7 * 7 }}"


def test_texts_of_records_are_shown_and_not_interpreted(tmp_path, run):
    record = run(label=HOSTILE, deviations=(HOSTILE,), source=HOSTILE, name="one", **UNDRAWN)
    records.write(tmp_path / "one", typed(record))
    files = report.build(tmp_path)
    page = (tmp_path / "report.html").read_text()
    checker = parsed(page)
    for path in files:
        if path.suffix in (".md", ".html"):
            text = path.read_text()
            assert "<script" not in text and "<img src=x" not in text, path
    assert "{{ 7 \\* 7 }}" in (tmp_path / "tables" / "table_5.md").read_text()
    assert HOSTILE in "".join(checker.text)


@pytest.mark.parametrize("name", ["<script>alert(1)<b>", "a) ![x](y", "x" * 200])
def test_names_of_architectures_are_no_paths_and_no_markup(tmp_path, paper_run, name):
    record = paper_run()
    record["model"]["architecture"] = record["config"]["architecture"] = name
    records.write(tmp_path / "one", typed(record | {"name": "one"}))
    files = [str(path.relative_to(tmp_path)) for path in report.build(tmp_path)]
    assert any(file.startswith("tables/layers_") for file in files)
    assert any(file.startswith("figures/curves_") for file in files)
    for file in files:
        assert re.fullmatch(r"(tables/|figures/)?[A-Za-z0-9_.-]{1,120}", file)
        if file.endswith((".md", ".html")):
            text = (tmp_path / file).read_text()
            assert "<script" not in text, file
            assert file.endswith(".html") or "![x](y" not in text, file


def test_nothing_is_written_outside_of_the_directory(tmp_path, monkeypatch, run):
    """A record's architecture was part of a file's name, and overwrote files elsewhere."""
    output_dir, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    records.write(output_dir / "one", typed(run(**UNDRAWN)))
    elsewhere.mkdir()
    (output_dir / "figures").symlink_to(elsewhere)
    with pytest.raises(RunError, match=r"figures/\S+ is outside of output_dir='\S+study'"):
        report.build(output_dir)
    (output_dir / "figures").unlink()

    class Climbing(report.Exhibit):
        name, title = "../../elsewhere/notes", "Notes"
        columns = (report.Column("run", "run"),)

    monkeypatch.setitem(exhibits.EXHIBITS, Climbing.name, Climbing())
    with pytest.raises(RunError, match=r"notes\.md is outside of output_dir"):
        report.build(output_dir)
    assert not any(elsewhere.iterdir()) and not (output_dir / "report.md").exists()


def test_the_same_records_give_the_same_bytes_wherever_they_are(tmp_path, study):
    few = [record for record in study if "table_8" in str(record["rows"])]
    few[0]["history"] = {}  # one figure less to draw
    write_study(tmp_path / "a", few)
    write_study(tmp_path / "deeper" / "b", few[::-1])
    contents = []
    for directory in (tmp_path / "a", tmp_path / "deeper" / "b"):
        files = report.build(directory)
        contents.append({p.relative_to(directory): p.read_bytes() for p in files})
    assert contents[0] == contents[1]


def test_a_second_report_is_the_same_and_leaves_records_alone(tmp_path, run):
    path = records.write(tmp_path / "one", typed(run(**UNDRAWN)))
    before = path.read_bytes(), path.stat().st_mtime_ns
    first = {file: file.read_bytes() for file in report.build(tmp_path)}
    assert {file: file.read_bytes() for file in report.build(tmp_path)} == first
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_without_records_every_row_is_listed_as_not_run(tmp_path):
    report.build(tmp_path)
    texts = [path.read_text() for path in (tmp_path / "tables").glob("*.md")]
    text = "".join(texts)
    assert text.count("not run; run it with") == 33  # 31 rows of tables, 2 of Figure 1
    assert not (tmp_path / "figures").exists()


def test_a_table_without_rows_says_so(tmp_path, run):
    """A header, a rule and notes on nothing looked like a table that failed."""
    records.write(tmp_path / "one", typed(run(**UNDRAWN)))
    report.build(tmp_path)
    names = ("membership", "ablations", "equal_training", "privacy_bounds")
    for name in names:
        title, empty, text = (tmp_path / "tables" / f"{name}.md").read_text().split("\n", 2)
        assert title.startswith("# ") and not empty
        assert text == "Nothing on record yet.\n"
        frame = pd.read_csv(tmp_path / "tables" / f"{name}.csv")
        assert "replicates" in frame.columns and not len(frame)


def test_figures_are_written_in_the_requested_formats(tmp_path, run):
    records.write(tmp_path / "one", typed(run(**UNDRAWN)))
    report.build(tmp_path, figure_formats=("png", "pdf"))
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["gaps_table_5.pdf", "gaps_table_5.png"]
    with pytest.raises(ArgumentError, match="figure_formats=gif must be of png, pdf, svg"):
        report.build(tmp_path, figure_formats=("gif",))


def test_an_invalid_record_stops_the_report(tmp_path):
    (tmp_path / "record.json").write_text('{"schema_version": 1}')
    with pytest.raises(RunError, match=r"record\.json"):
        report.build(tmp_path)
    assert not (tmp_path / "report.md").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path, run):
    records.write(tmp_path / "one", typed(run(**UNDRAWN)))
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(RunError, match=r"figures.*cannot be written"):
        report.build(tmp_path)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.report", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_binary_prints_tables_and_files(tmp_path, run):
    records.write(tmp_path / "one", typed(run(**UNDRAWN)))
    process = start(f"--output_dir={tmp_path}", "--tables=5")
    printed, complaints = process.communicate(timeout=240)
    assert process.returncode == 0, complaints
    assert "Table 5: Robust and regularized training" in printed
    assert "Table 8" not in printed
    assert f"{tmp_path}/report.html shows all of it" in printed


def test_the_binary_prints_latex_with_its_command(tmp_path, run):
    records.write(tmp_path / "one", typed(run(**UNDRAWN)))
    process = start(f"--output_dir={tmp_path}", "--tables=5", "--format=latex")
    printed, complaints = process.communicate(timeout=240)
    assert process.returncode == 0, complaints
    first, second = printed.splitlines()[:2]
    assert first.startswith("% python -m experiments.report") and "--tables=5" in first
    assert second == r"\begin{table}"


def test_bad_input_is_one_line(tmp_path):
    cases = {
        "--output_dir is needed": start(),
        "holds no record.json": start(f"--output_dir={tmp_path}"),
        "--tables=9": start(f"--output_dir={tmp_path}", "--tables=3,9"),
    }
    for words, process in cases.items():
        printed, complaints = process.communicate(timeout=240)
        assert process.returncode == 2
        assert words in complaints
        assert len(complaints.strip().splitlines()) == 1
        assert not printed
    assert list(tmp_path.iterdir()) == []


def test_the_report_needs_no_tensorflow():
    code = "import sys, ft_tf.report; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
