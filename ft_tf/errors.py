"""The errors that ft_tf raises on purpose: one line that names what is wrong and what to do.

Binaries print them without a traceback and exit with a code that is not 0.
"""


class FtTfError(Exception):
    """Base of every error that is addressed to the user."""


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
