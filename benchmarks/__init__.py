"""Benchmarks against a plain PyTorch implementation and against the machine's limit."""
