"""What shows how the system works: the log, traces, and counters for Prometheus."""
