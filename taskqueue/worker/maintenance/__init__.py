"""The chores of a worker: one file each, one class, one `run()`. Maintenance runs them in their order."""
