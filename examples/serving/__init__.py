"""A saved classifier behind HTTP, without PyTorch, and a load test of it."""
