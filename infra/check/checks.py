"""All checks; `run` starts this. Each module registers its own."""

import sys

import arm  # noqa: F401
import functions  # noqa: F401
import harness
import linters  # noqa: F401
import packaging  # noqa: F401
import policy  # noqa: F401
import settings  # noqa: F401
import stack  # noqa: F401
import staging  # noqa: F401
import timers  # noqa: F401

sys.exit(harness.main(sys.argv[1:]))
