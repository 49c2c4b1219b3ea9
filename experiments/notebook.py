"""What a notebook needs to call the binaries: their progress as a bar, a failure as one line.

The binaries run in processes of their own, on a pseudo terminal: so they show their progress, see
the packages that were installed a minute ago, and give their memory back at the end.
"""

import codecs
import html
import importlib.metadata
import os
import platform
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from IPython.display import HTML, display

from ft_tf.errors import FtTfError

_COLUMNS = 110
_COLUMNS_FOLDED = 200  # long enough for a run's name and its percentage: progress lines are cut off
_SECONDS_BETWEEN_UPDATES = 0.2
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FIGURE = re.compile(r"!\[(.*)\]\((.*\.png)\)")
_PACKAGES = {  # what TensorFlow and the library bring along, by module
    "google.protobuf": "protobuf",
    "h5py": "h5py",
    "keras": "keras",
    "matplotlib": "matplotlib",
    "ml_dtypes": "ml_dtypes",
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "tensorflow": "tensorflow",
}


class ProgramError(FtTfError):
    """A program ended with an error; the message is the last line that it printed."""

    def _render_traceback_(self) -> list[str]:  # IPython shows this in place of a traceback
        return [f"error: {self}"]


class Screen:
    r"""Splits what a program writes to a terminal into lines that stay and the line that moves.

    >>> screen = Screen()
    >>> screen.feed("loading\n 10%\r 20%")
    ['loading']
    >>> screen.moving
    ' 20%'
    """

    def __init__(self) -> None:
        self.moving = ""
        self._returned = False

    def feed(self, text: str) -> list[str]:
        """Takes the next piece of output; returns the lines that it finished."""
        finished = []
        for piece in re.split(r"([\r\n])", _ESCAPES.sub("", text)):
            if piece == "\n":
                finished.append(self.moving.rstrip())
                self.moving, self._returned = "", False
            elif piece == "\r":
                self._returned = True
            elif piece:
                self.moving = piece if self._returned else self.moving + piece
                self._returned = False
        return finished


def share_of(line: str) -> int | None:
    """Percent of the work that a progress line says is done: of all runs, where it counts them.

    >>> share_of(" 45%|####     | 9/20")
    45
    >>> share_of("[run 3 of 4] natural   50%  elapsed 0:10")
    62
    """
    percent = re.search(r"(?<![\d.])(\d{1,3})%", line)
    if not percent:
        return None
    share = min(int(percent[1]), 100)
    place = re.match(r"\[run (\d+) of (\d+)\]", line)
    if place:
        index, count = int(place[1]), int(place[2])
        share = (100 * (index - 1) + share) // count
    return share


class _Bar:
    """A progress bar with the moving line beside it; folds away what the program printed."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._started = time.monotonic()
        self._shown = 0.0
        self._handle = display(HTML(self._bar(None, "starting")), display_id=True)

    def show(self, moving: str) -> None:
        now = time.monotonic()
        if moving.strip() and now - self._shown >= _SECONDS_BETWEEN_UPDATES:
            self._handle.update(HTML(self._bar(share_of(moving), moving.strip())))
            self._shown = now

    def end(self, outcome: str, share: int, folded: list[str]) -> None:
        minutes, seconds = divmod(round(time.monotonic() - self._started), 60)
        text = self._bar(share, f"{outcome} after {minutes}:{seconds:02d}")
        if folded:
            printed = html.escape("\n".join(folded))
            text += f"<details><summary>what it printed</summary><pre>{printed}</pre></details>"
        self._handle.update(HTML(text))

    def _bar(self, share: int | None, text: str) -> str:
        value = "" if share is None else f' value="{share}"'
        return (
            f'<progress max="100"{value}></progress> {html.escape(self._title)}: '
            f"<code>{html.escape(text)}</code>"
        )


def run(module: str, *arguments: str, folded: bool = False) -> None:
    """Runs `python -m module arguments...` and shows its progress as a bar.

    Args:
        module: such as "experiments.reproduce".
        arguments: its command line.
        folded: puts what it prints into a fold below the bar instead of the cell's output.

    Raises:
        ProgramError: it did not end with 0.
        KeyboardInterrupt: the cell was stopped; the program was told so and has ended.
    """
    screen, kept = Screen(), []
    bar = _Bar(module.removeprefix("experiments."))
    process, terminal = _start(module, arguments, _COLUMNS_FOLDED if folded else _COLUMNS)

    def take(text: str) -> None:
        for line in screen.feed(text):
            kept.append(line)
            if not folded:
                print(line, flush=True)
        bar.show(screen.moving or (kept[-1] if folded and kept else ""))

    try:
        _follow(process, terminal, take)
        if screen.moving.strip():
            take("\n")
    except KeyboardInterrupt:
        bar.end("stopped", 0, kept if folded else [])
        raise
    if process.returncode:
        bar.end("failed", 0, kept if folded else [])
        lines = [line for line in kept if line.strip()] or ["it printed nothing"]
        raise ProgramError(lines[-1].removeprefix("error: "))
    bar.end("done", 100, kept if folded else [])


def _start(module: str, arguments: tuple[str, ...], columns: int) -> tuple[subprocess.Popen, int]:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "COLUMNS": str(columns)},
            start_new_session=True,  # the kernel's interrupts reach it through _follow alone
        )
    finally:
        os.close(theirs)
    return process, ours


def _follow(process: subprocess.Popen, terminal: int, take: Callable[[str], None]) -> None:
    """Hands on all output until the process has ended; an interrupt is passed on to it."""
    try:
        try:
            for text in _texts(terminal):
                take(text)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            for text in _texts(terminal):
                take(text)
            raise
    except BaseException:
        process.kill()
        raise
    finally:
        process.wait()
        os.close(terminal)


def _texts(terminal: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # how Linux says that nobody holds the other end any more
            return
        if not data:
            return
        yield decoder.decode(data)


def kernel_is_current() -> bool:
    """Whether this kernel holds the packages that are installed; says what to do where not.

    A kernel that imported one of them before it was exchanged goes on with the old one, which
    does not fit the rest.
    """
    for module, package in _PACKAGES.items():
        loaded = getattr(sys.modules.get(module), "__version__", None)
        installed = _installed(package)
        if loaded and installed and loaded != installed:
            print(
                f"This session holds {package} {loaded}, but {installed} is installed: restart the "
                "session and run all cells again. Finished work is kept."
            )
            return False
    return True


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_machine() -> None:
    """Prints the versions that the binaries run with, and the GPU that TensorFlow sees, if any."""
    versions = ", ".join(f"{name} {_installed(name)}" for name in ("tensorflow", "numpy", "pandas"))
    print(f"Python {platform.python_version()}, {versions}, {len(os.sched_getaffinity(0))} cores")
    if not has_gpu():
        print("no GPU")
        return
    print("GPUs that TensorFlow sees:")
    code = "from ft_tf._compat import tf; print(tf.config.list_physical_devices('GPU') or 'none')"
    print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)


def has_gpu() -> bool:
    """Whether the machine has a driver of NVIDIA's."""
    return shutil.which("nvidia-smi") is not None


def captions(results: Path) -> dict[str, str]:
    """Returns the caption of each figure of a report's pages, as a sentence, by its file's stem."""
    pages = [results / "report.md", *sorted((results / "tables").glob("*.md"))]
    found = (_FIGURE.findall(page.read_text(encoding="utf-8")) for page in pages)
    return {Path(figure).stem: f"{text.rstrip('.')}." for each in found for text, figure in each}


def table(path: Path, *, without: Collection[str]) -> str:
    r"""Returns the table of a Markdown file, less its figures and the columns with these headers.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".md") as file:
    ...     _ = file.write("![](f.png)\n\n| a | b | c |\n| - | -: | - |\n| 1 | 2 \\| 3 | 4 |\n")
    ...     file.flush()
    ...     print(table(Path(file.name), without=["b"]))
    | a | c |
    | - | - |
    | 1 | 4 |
    """
    text = re.sub(f"{_FIGURE.pattern}\n\n", "", path.read_text(encoding="utf-8"))
    lines = text.splitlines()
    rows = {
        n: re.split(r"(?<!\\)\|", line)[1:-1] for n, line in enumerate(lines) if line[:1] == "|"
    }
    header = next(iter(rows.values()), [])
    kept = [n for n, cell in enumerate(header) if cell.strip() not in without]
    for n, cells in rows.items():
        lines[n] = f"|{'|'.join(cells[column] for column in kept)}|"
    return "\n".join(lines)
