"""To look: lists of tasks, queues and workers, why a task does not run, and live changes."""
