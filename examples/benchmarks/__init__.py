"""Benchmarks of textrnn, side by side with what people would use instead."""
