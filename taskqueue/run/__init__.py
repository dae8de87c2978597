"""Inside a job: what its code may call (progress, files, submit, outgoing HTTP), and the built-in job types."""
