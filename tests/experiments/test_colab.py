"""The notebook runs from its first cell to its last, at the smallest scale, after a disconnect."""

import base64
import io
import os
import re
import shutil
import subprocess
import sys

import forked
import matplotlib.image
import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.slow

NOTEBOOK = forked.ROOT / "experiments" / "colab.ipynb"
RUNS = 12

# A disconnect, as the notebook meets it: its kernel is gone while a binary is at work.
DISCONNECT = """
import os, pathlib, signal, threading, time

def disconnect():
    while len(list(pathlib.Path({results!r}).rglob("record.json"))) < 2:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=disconnect, daemon=True).start()
"""
# What a user may have done before: tf.keras is Keras 3 from here on.
TOUCH_KERAS_3 = "import tensorflow as tf\nassert tf.keras.__version__.startswith('3.')"


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


def cell_of(notebook, name):
    return next(cell for cell in notebook.cells if cell["id"] == name)


def with_parameters(notebook, **values):
    """Puts a cell after the one tagged "parameters", as papermill does."""
    place = next(
        index
        for index, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", [])
    )
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(source))
    return notebook


def execute(notebook):
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    )
    client.execute(env=environment)
    return notebook


def written(results):
    return {path: path.stat().st_mtime_ns for path in results.rglob("record.json")}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The executed notebook, the records that a disconnect left, and the results directory."""
    results = tmp_path_factory.mktemp("colab") / "results"
    values = {"scale": "smoke", "results_dir": str(results), "fault_trials": 2, "budget": "5 s"}
    first = with_parameters(read(), **values)
    names = [cell["id"] for cell in first.cells]
    train = names.index("train")
    disconnect = nbformat.v4.new_code_cell(DISCONNECT.format(results=str(results)))
    first.cells = [*first.cells[: names.index("epsilons")], disconnect, first.cells[train]]
    with pytest.raises(nbclient.exceptions.DeadKernelError):
        execute(first)
    before = written(results)
    assert 2 <= len(before) < RUNS
    notebook = with_parameters(read(), **values)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(TOUCH_KERAS_3))
    return execute(notebook), before, results


def outputs(notebook, kind):
    """Contents of all outputs of one MIME type, by the cell's id."""
    return [
        (cell["id"], output["data"][kind])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if kind in output.get("data", {})
    ]


def printed(cell):
    return "".join(output.get("text", "") for output in cell["outputs"])


def test_it_is_kept_with_the_outputs_of_a_run_and_with_a_form():
    notebook = read()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert NOTEBOOK.stat().st_size < 600_000
    assert "1,000 test images" in printed(cell_of(notebook, "my-model"))
    lines = cell_of(notebook, "settings").source.splitlines()[1:]
    assert all(re.fullmatch(r'\w+ = ("[^"]*"|\d+)  # @param .+', line) for line in lines)


def test_every_setting_is_explained_and_used():
    notebook = read()
    names = re.findall(r"^(\w+) = ", cell_of(notebook, "settings").source, re.MULTILINE)
    explained = re.findall(r"^\| `(\w+)` \|", cell_of(notebook, "settings-text").source, re.M)
    assert names == explained
    code = "\n".join(
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and cell["id"] != "settings"
    )
    assert all(re.search(rf"\b{name}\b", code) for name in names)


def test_what_was_finished_before_the_disconnect_was_not_done_again(ran):
    _, before, results = ran
    after = written(results)
    assert len(after) == RUNS
    assert {path: after[path] for path in before} == before


def test_no_figure_is_empty(ran):
    notebook, _, results = ran
    images = outputs(notebook, "image/png")
    shown = [name for name, _ in images]
    sentences = [text for name, text in outputs(notebook, "text/markdown") if name == "figures"]
    assert len(sentences) == shown.count("figures")
    assert all(re.fullmatch(r"[A-Z].{20,}[^.]\.", sentence) for sentence in sentences)
    assert shown.count("figures") == len(list((results / "figures").glob("*.png"))) >= 6
    assert shown.count("python") == 1
    for _, image in images:
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(image)))[..., :3]
        assert len({tuple(pixel) for pixel in pixels.reshape(-1, 3)[::7].tolist()}) > 2


def test_the_tables_have_the_papers_numbers_beside_ours(ran):
    tables = [text for name, text in outputs(ran[0], "text/markdown") if name == "tables"]
    assert len(tables) == 4
    for table, rows in zip(tables, (6, 6, 6, 4), strict=True):
        assert len(re.findall(r"^\| (?!---)", table, re.MULTILINE)) == rows + 1
    number = r"-?\d+\.\d\d"
    assert re.search(rf"DNN TRADES \| 98.76 \| 89.93 \| 8.83 \| {number} \| {number} ", tables[0])
    assert re.search(rf"epsilon 2.97\) \| 85.70 \| 83.64 \| 2.06 \| {number} \| ", tables[1])


def test_the_papers_epsilons_are_printed(ran):
    text = printed(cell_of(ran[0], "epsilons"))
    for multiplier, epsilon in (("5", "0.492"), ("1.1", "2.970"), ("0.5", "24.662")):
        assert re.search(rf"^ *{re.escape(multiplier)} +{re.escape(epsilon)} ", text, re.MULTILINE)


def test_every_private_run_states_what_it_may_claim(ran):
    texts = [text for name, text in outputs(ran[0], "text/markdown") if name == "privacy"]
    assert len(texts) == 4
    assert all("delta=1e-05)-differentially private" in text for text in texts)


def test_faults_are_injected_into_one_model_of_each_kind(ran):
    text = printed(cell_of(ran[0], "bits"))
    for kind in ("natural", "trades-epsilon_0.1", "dpsgd-sigma_1.1"):
        assert re.search(rf"^fashion_mnist_sample_500-fmnist_dnn-{kind}-", text, re.MULTILINE)
    assert len(re.findall(r"^ +\S+ +[\d,]+ +\d+ +\d+\.\d\d%", text, re.MULTILINE)) == 3 * 5


def test_progress_bars_end_full(ran):
    bars = outputs(ran[0], "text/html")
    assert [name for name, _ in bars] == ["epsilons", "train", "bits", "my-model"]
    assert all('<progress max="100" value="100">' in bar for _, bar in bars)
    assert "(done before)" in dict(bars)["train"]


@pytest.fixture
def repository(tmp_path):
    """What the notebook looks for, and no more."""
    for name in ("reproduce.py", "notebook.py"):
        path = tmp_path / "origin" / "experiments" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(forked.ROOT / "experiments" / name, path)
    return path.parent.parent


def find_repository(source, directory):
    """Executes the cell that finds the repository, where there is none; where it ends up."""
    directory.mkdir(exist_ok=True)
    settings = "tables = scale = results_dir = data_dir = ''"
    code = "\n".join(
        [
            settings,
            f"source = {source!r}",
            cell_of(read(), "repository").source,
            "print(os.getcwd())",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=directory, capture_output=True, text=True
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def test_the_repository_comes_from_a_folder(tmp_path, repository):
    assert find_repository(str(repository), tmp_path / "here") == (0, str(repository), "")


def test_the_repository_comes_from_a_zip_whose_name_starts_its_paths(tmp_path, repository):
    archive = shutil.make_archive(str(tmp_path / "code"), "zip", tmp_path, "origin")
    found = find_repository(archive, tmp_path / "here")
    assert found == (0, str(tmp_path / "here" / "ft_tf_repository" / "origin"), "")


@pytest.mark.parametrize("is_cited", [False, True])
def test_the_repository_comes_from_git(tmp_path, repository, is_cited):
    git = ["git", "-C", str(repository), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *arguments], check=True)
    source = f"file://{repository}"
    if is_cited:
        (tmp_path / "here").mkdir()
        (tmp_path / "here/CITATION.cff").write_text(f'title: A\nrepository-code: "{source}"\n')
    code, place, _ = find_repository("" if is_cited else source, tmp_path / "here")
    assert (code, place) == (0, str(tmp_path / "here" / "ft_tf_repository"))


def test_without_a_source_one_line_says_what_to_set(tmp_path):
    code, _, error = find_repository("", tmp_path / "here")
    assert (code, error) == (1, "Settings: source='' must say where the repository is")
