"""Inside a job: what its code can call (progress, files, submit, outgoing HTTP), and the built-in job types."""
