"""The job types: one file each. Add a file here, and clients can submit its tasks to `POST /tasks`."""
