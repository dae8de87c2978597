"""`make run`: everything on this machine. It is `taskqueue run` for this repository's application."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from taskqueue.programs.laptop import main

if __name__ == "__main__":
    sys.exit(main(program="make run", app="web.wsgi:app", watch="worker.py,jobs,taskqueue,web"))
