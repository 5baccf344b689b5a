"""Hypothesis strategies shared by the tests, each with an example of what it draws."""
