"""The chores of the scheduling worker: one file each, one class, one `run()`."""
