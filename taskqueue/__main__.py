"""Runs the command line: `python -m taskqueue`."""

import sys

from taskqueue.cli import main

sys.exit(main())
