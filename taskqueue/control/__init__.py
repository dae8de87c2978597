"""To act: cancel, requeue and delete tasks, pause queues, find the failures to send again."""
