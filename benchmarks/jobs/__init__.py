"""The job types of the benchmarks: a worker that starts in benchmarks/ finds these instead of the project's."""
