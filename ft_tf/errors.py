"""The errors that ft_tf raises on purpose: one line that names what is wrong and what to do.

Binaries print them without a traceback and exit with a code that is not 0.
"""

_LONGEST = 1000


def printable(text: str) -> str:
    r"""Returns text with a space for every character that no terminal shows, or that steers it.

    >>> printable("a\x1b[31mb\n")
    'a [31mb '
    """
    return "".join(letter if letter.isprintable() else " " for letter in text)


class FtTfError(Exception):
    """Base of every error that is addressed to the user; its message is one line.

    Values in a message may be anything: line breaks and what no terminal shows become spaces, and
    the rest of a very long message is left out.
    """

    def __init__(self, message: object = "", *arguments: object) -> None:
        text = printable(" ".join(str(message).split()))
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST - 3]}..."
        super().__init__(text, *arguments)


class ArgumentError(FtTfError, ValueError):
    """An argument or flag has a value that cannot be used; the message carries name=value."""


class DataError(FtTfError):
    """A data file or directory is missing, truncated, corrupt or not what it claims to be."""


class DataNotFoundError(DataError):
    """The data set is in none of the places that were searched; what is broken is a DataError."""


class StackError(FtTfError, ImportError):
    """The installed packages, or what is already loaded of them, cannot do what was asked."""


class ModelError(FtTfError, ValueError):
    """A Keras model has a layer or an output that the requested operation cannot serve."""


class RunError(FtTfError):
    """A run's directory, record or training cannot be used or went wrong."""


class InUseError(RunError):
    """A run's directory is held by another process."""
