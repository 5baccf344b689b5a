"""From ids to batches."""
