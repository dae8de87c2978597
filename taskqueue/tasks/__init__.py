"""What a task is: one RQ job as clients see it, with its log, its failure and its changes."""
