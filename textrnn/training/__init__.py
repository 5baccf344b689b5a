"""From logits to a trained model."""
