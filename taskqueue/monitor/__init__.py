"""Read-only views: lists of tasks, queues and workers, why a task does not run, live changes, metrics."""
