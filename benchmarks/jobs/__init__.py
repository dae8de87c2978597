"""The benchmarks' job types: workers with benchmarks/ first in their path find these instead of the project's."""
