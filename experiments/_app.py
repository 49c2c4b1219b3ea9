"""How every binary starts and ends: flags in, one clear line out when something is wrong.

Import this module before anything of ft_tf, so that --verbose reaches TensorFlow's start-up.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from experiments import _terminal
from ft_tf import records
from ft_tf.errors import FtTfError

USAGE_ERROR = 2
INTERRUPTED = 130

flags.DEFINE_bool(
    "verbose", False, "Show TensorFlow's own messages, and a traceback when something fails."
)


def _early_arguments() -> list[str]:
    """The command line with the content of its flagfiles, before absl parses it."""
    with contextlib.suppress(flags.Error):  # told when they are parsed
        return flags.FLAGS.read_flags_from_files(sys.argv[1:], force_gnu=False)
    return sys.argv[1:]


if "--verbose" in _early_arguments():  # TensorFlow is imported before absl parses the flags
    os.environ["FT_TF_VERBOSE"] = "1"


def _parse(arguments: Sequence[str], words: int) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
    except SystemExit:  # absl's --help exits with 1
        sys.exit(0)
    except flags.Error as error:
        fail(" ".join(str(error).split()))
    if len(rest) > 1 + words:
        fail(f"argument {rest[1 + words]!r} is not a flag; --help lists the flags")
    return rest


def fail(message: str) -> NoReturn:
    """Prints one line on stderr and ends the process."""
    print(_terminal.styled("error:", "error", stream=sys.stderr), message, file=sys.stderr)
    sys.exit(USAGE_ERROR)


def warn(message: str) -> None:
    """Prints a warning among a binary's results."""
    print(_terminal.wrapped(f"{_terminal.styled('warning:', 'warning')} {message}"))


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


def are_saved_flags(path: Path) -> bool:
    """Whether `path` is what `save_flags` would write: the command is the one that ran then."""
    return path.exists() and path.read_text(encoding="utf-8").splitlines()[1:] == _given()


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


def run(main: Callable[[list[str]], int | None], *, words: int = 0) -> None:
    """Runs `main(argv)` as an absl app; `words` arguments may stand before or among the flags.

    Exit codes: 0, or what `main` returns; 2 with one line on stderr for bad input; 130 after
    Ctrl-C; a traceback only with --verbose or for an error that nobody foresaw.
    """

    def guarded(arguments: list[str]) -> int | None:
        if not flags.FLAGS.verbose:
            logging.set_verbosity(logging.ERROR)
        try:
            return main(arguments)
        except FtTfError as error:
            if flags.FLAGS.verbose:
                raise
            fail(str(error))
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:  # `| head` is no error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None

    app.run(guarded, flags_parser=lambda arguments: _parse(arguments, words))
