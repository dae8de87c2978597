"""The job types: one file each. Add a file here, and it can be posted to `/tasks`."""
