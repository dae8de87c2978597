"""`python -m taskqueue`: tasks, queues, workers and keys from a shell."""

import sys

from taskqueue.cli import main

sys.exit(main())
