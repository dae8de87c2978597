"""The fixture of the package's own plugin, which pytest loads by itself where the package is installed."""

from taskqueue.testing.plugin import task_queue  # noqa: F401
