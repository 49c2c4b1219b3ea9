"""How every binary starts and ends: flags in, one clear line out when something is wrong.

Import this module before anything of ft_tf, so that --verbose reaches TensorFlow's start-up.
"""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from experiments import _interrupts, _terminal
from ft_tf import checks, records
from ft_tf.errors import FtTfError

USAGE_ERROR = 2

flags.DEFINE_bool(
    "verbose", False, "Show TensorFlow's own messages, and a traceback when something fails."
)


def early_arguments() -> list[str]:
    """The command line with the content of its flagfiles, before absl parses it."""
    with contextlib.suppress(flags.Error):  # told when they are parsed
        return flags.FLAGS.read_flags_from_files(sys.argv[1:], force_gnu=False)
    return sys.argv[1:]


if "--verbose" in early_arguments():  # TensorFlow is imported before absl parses the flags
    os.environ["FT_TF_VERBOSE"] = "1"


def _parse(arguments: Sequence[str], words: int) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
    except SystemExit:  # absl's --help exits with 1
        sys.exit(0)
    except flags.Error as error:
        fail(_missing_flagfile(error) or " ".join(str(error).split()))
    if len(rest) > 1 + words:
        fail(f"argument {rest[1 + words]!r} is not a flag; --help lists the flags")
    return rest


def _missing_flagfile(error: flags.Error) -> str | None:
    """What is wrong with a flagfile that cannot be opened; absl's own words are a line of a log."""
    reason = error.__context__
    if not isinstance(error, flags.CantOpenFlagFileError) or not isinstance(reason, OSError):
        return None
    return (
        f"flagfile={reason.filename!r} cannot be read ({reason.strerror}): name a file of flags, "
        "one a line"
    )


def fail(message: str) -> NoReturn:
    """Prints one line on stderr and ends the process."""
    message = str(FtTfError(message))  # absl's errors may be of any length
    _complain(f"{_terminal.styled('error:', 'error', stream=sys.stderr)} {message}")
    sys.exit(USAGE_ERROR)


def _complain(line: str) -> None:
    with contextlib.suppress(OSError):  # stderr may be full as well: the exit code tells
        print(line, file=sys.stderr)


def warn(message: str) -> None:
    """Prints a warning among a binary's results."""
    print(_terminal.wrapped(f"{_terminal.styled('warning:', 'warning')} {message}"))


def is_chosen(name: str, only: Sequence[str]) -> bool:
    """Whether one of `only` is in a name, or there is none; a number at its end is a whole one."""
    ends = {part: r"(?!\d)" if part[-1:].isdigit() else "" for part in only}
    return not only or any(re.search(re.escape(part) + end, name) for part, end in ends.items())


def save_flags(path: Path, **also: str) -> None:
    """Writes the flags that were set as a file for --flagfile, which repeats the command.

    Paths stay as they were given: the file works from the directory where the command was run.

    Args:
        path: of the file.
        also: further flags, of type string, or other values of those that were set.

    Raises:
        RunError: the place cannot be written.
    """
    binary = getattr(sys.modules["__main__"].__spec__, "name", "experiments.NAME")
    lines = [f"# python -m {binary} --flagfile={path}", *_given(**also)]
    records.write_text(path, "\n".join(lines) + "\n")


def keep_flags(path: Path) -> Path:
    """Like `save_flags`, but another command's file stays: this one is numbered then, NAME-2.flags.

    Returns:
        The file, which the same command finds again.
    """
    path = beside_others(path)
    save_flags(path)
    return path


def beside_others(path: Path) -> Path:
    """`path`, or the first of NAME-2, NAME-3, ... that holds nothing of another command.

    The saved flags beside a file, NAME.flags, say which command it is of.
    """
    first, number = path, 1
    while path.exists() and not are_saved_flags(path.with_suffix(".flags")):
        number += 1
        path = first.with_name(f"{first.stem}-{number}{first.suffix}")
    return path


def are_saved_flags(path: Path) -> bool:
    """Whether `path` is what `save_flags` would write: the command is the one that ran then."""
    if not path.exists():
        return False
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[1:] == _given()


def _given(**also: str) -> list[str]:
    """The flags that were set, by name."""
    given = {
        flag.name: flag.serialize()
        for module, defined in flags.FLAGS.flags_by_module_dict().items()
        for flag in defined
        if not module.startswith("absl.") and flag.present
    }
    given |= {name: f"--{name}={value}" for name, value in also.items()}
    return [line for name in sorted(given) for line in given[name].splitlines()]


_PATHS = (
    "data", "data_dir", "from", "model", "output", "output_dir", "readme", "run", "runs",
    "tensorboard_dir",
)  # fmt: skip


def _check_paths() -> None:
    """Raises ArgumentError for a flag that cannot be a path."""
    for name in filter(flags.FLAGS.__contains__, _PATHS):
        given = flags.FLAGS[name].value
        for path in given if isinstance(given, list) else [given]:
            if path:
                checks.check_path(**{name: path})


_defined: set[str] = set()


def define(define_flags: Callable[[], None]) -> None:
    """Defines a binary's flags, in place of those of another binary that ran in this process."""
    for name in _defined:
        delattr(flags.FLAGS, name)
    before = set(flags.FLAGS)
    define_flags()
    _defined.clear()
    _defined.update(set(flags.FLAGS) - before)


def run(
    main: Callable[[list[str]], int | None],
    define_flags: Callable[[], None],
    *,
    words: int = 0,
    resumes: bool | Callable[[], bool] = False,
) -> None:
    """Runs `main(argv)` as an absl app; `words` arguments may be among the flags.

    Exit codes: 0, or what `main` returns; 2 with one line on stderr for bad input; 130 after
    Ctrl-C, 143 after SIGTERM; a traceback only with --verbose or for an error that nobody foresaw.
    A reader of stdout that has gone, as `head` does, is no error.

    Args:
        main: what the binary does.
        define_flags: defines its flags, so that importing a binary defines none.
        words: largest number of arguments that are no flags.
        resumes: whether the same command continues where it was interrupted; a function is asked
            when that happens.
    """
    define(define_flags)

    def guarded(arguments: list[str]) -> int | None:
        if not flags.FLAGS.verbose:
            logging.set_verbosity(logging.ERROR)
        try:
            _check_paths()
            return main(arguments)
        except FtTfError as error:
            if flags.FLAGS.verbose or _interrupts.cause(error):
                raise
            fail(str(error))

    try:
        _interrupts.raise_exception()
        if sys.stdout is None:
            fail("standard output is closed: redirect it, to /dev/null if nobody reads it")
        try:
            app.run(guarded, flags_parser=lambda arguments: _parse(arguments, words))
        finally:
            sys.stdout.flush()  # at the interpreter's end a failure would be a traceback
    except BaseException as error:
        interrupt = _interrupts.cause(error)
        if interrupt is None:
            _end_without_output(error)
            raise
        resumes = resumes() if callable(resumes) else resumes
        then = "goes on from here" if resumes else "starts again"
        _complain(f"interrupted; the same command {then}")
        sys.exit(_interrupts.code(interrupt))


def _end_without_output(error: BaseException) -> None:
    """Ends the process if the error says that nobody reads, or that a disk is full."""
    if isinstance(error, BrokenPipeError):
        _drop_stdout()
        sys.exit(0)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        _drop_stdout()
        fail(f"{error.filename or 'output'} cannot be written ({error.strerror}): make room")


def _drop_stdout() -> None:
    """Sends what is left to print to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
