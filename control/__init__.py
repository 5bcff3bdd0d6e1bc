"""The control program: prepares this host, deploys the platform and looks after it.

It runs with the host's own Python before anything is installed, so it uses the standard
library alone.
"""

import sys

# No newer syntax in this file: an older Python must be able to read it and say why it stops.
if sys.version_info < (3, 11):  # noqa: UP036 - the host's Python is whatever the host has
    sys.exit(
        f"This needs Python 3.11 or newer, and python3 is {sys.version.split()[0]} "
        f"({sys.executable}). Debian 12 and 13 and Ubuntu 24.04 bring a newer one; put it first "
        "on the PATH."
    )
