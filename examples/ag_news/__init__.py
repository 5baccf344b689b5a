"""Experiments on AG News: run, compare and report them."""
