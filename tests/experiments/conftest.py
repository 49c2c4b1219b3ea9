"""What the binaries print does not depend on how the tests were started."""

import os

# pytest-xdist sets it in its workers: lines of the binaries would break at 80 columns.
os.environ.pop("COLUMNS", None)
