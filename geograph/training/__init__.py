"""Training: the one place that builds a Trainer, checkpoints, tracking."""
