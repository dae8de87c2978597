"""Starts a worker. `python worker.py --help` shows its options."""

import sys

from taskqueue.programs.worker import main

if __name__ == "__main__":
    sys.exit(main(program="worker.py"))
