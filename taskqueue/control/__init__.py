"""Acts on tasks and queues: cancel, requeue and delete tasks, find failed ones, pause queues."""
