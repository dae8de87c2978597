"""Puts tasks into the queue: the options of a task, one task, many tasks as a batch, and schedules."""
