"""How every binary starts and ends: flags in, one clear line out when something is wrong.

Import this module before anything of ft_tf, so that --verbose reaches TensorFlow's start-up.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from ft_tf.errors import FtTfError

USAGE_ERROR = 2
INTERRUPTED = 130

flags.DEFINE_bool(
    "verbose", False, "Show TensorFlow's own messages, and a traceback when something fails."
)

if "--verbose" in sys.argv:  # TensorFlow is imported before absl parses the flags
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
    print(f"error: {message}", file=sys.stderr)
    sys.exit(USAGE_ERROR)


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
