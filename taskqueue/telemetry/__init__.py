"""What is told of the system while it works: the log, traces, and counters for Prometheus."""
