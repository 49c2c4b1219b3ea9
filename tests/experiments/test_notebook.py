import doctest
import json
import subprocess
import sys
import types

import forked
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from experiments import notebook

SETTINGS = ("results_dir", "data_dir", "source", "my_model")


@pytest.mark.parametrize("on_drive", [None, *SETTINGS])
def test_drive_is_mounted_for_whatever_lies_on_it(on_drive, monkeypatch):
    cells = json.loads((forked.ROOT / "experiments" / "colab.ipynb").read_text())["cells"]
    (source,) = ["".join(c["source"]) for c in cells if "drive.mount" in "".join(c["source"])]
    mounted, drive = [], types.ModuleType("google.colab.drive")
    drive.mount = mounted.append
    colab = types.SimpleNamespace(drive=drive)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    names = dict.fromkeys(SETTINGS, "")
    if on_drive:
        names[on_drive] = "/content/drive/MyDrive/mine"
    exec(source[: source.index("target =")], names)
    assert mounted == (["/content/drive"] if on_drive else [])


def test_docstrings_hold():
    assert doctest.testmod(notebook).failed == 0


def test_a_line_that_moves_stays_only_as_it_ended():
    screen = notebook.Screen()
    finished = []
    # As pseudo terminals pass it on: pieces end anywhere, and every line with \r\n.
    for piece in ("a\r\nb 1", "0%\r", "      \r", "b 20%", "\r", "\nc\r\n", "\x1b[1md\x1b[0m 30%"):
        finished += screen.feed(piece)
    assert finished == ["a", "b 20%", "c"]
    assert screen.moving == "d 30%"


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("", None),
        ("no number", None),
        ("100%|##########| 9/9, rate 0.1: 85.20%", 100),
        ("test 83.64%", None),
        ("[run 1 of 12] x    0%  elapsed 0:01", 0),
        ("[run 12 of 12] x  100%  elapsed 0:01", 100),
        ("[run 7 of 12] x   50%  elapsed 0:01", 54),
    ],
)
def test_the_share_of_a_line(line, share):
    assert notebook.share_of(line) == share


@pytest.fixture
def shown():
    """The bars that a cell shows, as HTML."""
    InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    with capture_output(stdout=False) as captured:
        yield lambda: [output.data["text/html"] for output in captured.outputs]
    InteractiveShell.clear_instance()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes a module of a text, and returns its name."""
    monkeypatch.chdir(tmp_path)

    def make(text):
        (tmp_path / "program.py").write_text(text, encoding="utf-8")
        return "program"

    return make


def test_a_program_sees_a_terminal_and_its_lines_arrive(shown, program, capsys):
    text = "import sys; print('é', sys.argv[1], sys.stdout.isatty(), sys.stderr.isatty())"
    notebook.run(program(text), "--flag")
    assert capsys.readouterr().out == "é --flag True True\n"
    assert shown()[0].startswith('<progress max="100"></progress> program: ')
    assert shown()[-1].startswith('<progress max="100" value="100"></progress> program: ')


def test_the_bar_follows_the_line_that_moves(shown, program, capsys):
    notebook.run(program("print(' 30%|###  <a>', end='')"))
    expected = '<progress max="100" value="30"></progress> program: <code>30%|###  &lt;a&gt;</code>'
    assert expected in shown()
    assert capsys.readouterr().out == " 30%|###  <a>\n"


def test_folded_output_stays_out_of_the_cell_and_is_text(shown, program, capsys):
    notebook.run(program("print('<b>within')"), folded=True)
    assert capsys.readouterr().out == ""
    assert "<pre>&lt;b&gt;within</pre>" in shown()[-1]


def test_a_failure_is_its_last_line(shown, program):
    with pytest.raises(notebook.ProgramError, match=r"^no good$") as caught:
        notebook.run(program("import sys; print('before'); sys.exit('error: no good')"))
    assert caught.value._render_traceback_() == ["error: no good"]
    assert "<code>failed after " in shown()[-1]


STOPPED = """
from IPython.core.interactiveshell import InteractiveShell
from experiments import notebook

InteractiveShell.instance()
program = "import os, time; os.kill(os.getppid(), 2); time.sleep(30); print('went on')"
try:
    notebook.run("timeit", "-n1", "-r1", program)
except KeyboardInterrupt:
    print("stopped")
"""


def test_stopping_a_cell_stops_its_program():
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], cwd=forked.ROOT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert "KeyboardInterrupt" in lines  # the program's own last word
    assert "went on" not in lines
    assert lines[-1] == "stopped"


def test_a_kernel_with_an_exchanged_package_is_told_what_to_do(monkeypatch, capsys):
    assert notebook.kernel_is_current()
    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(__version__="1.0"))
    assert not notebook.kernel_is_current()
    assert capsys.readouterr().out.startswith("This session holds h5py 1.0, but ")
