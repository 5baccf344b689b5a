"""Benchmarks of textrnn, compared with common alternatives."""
