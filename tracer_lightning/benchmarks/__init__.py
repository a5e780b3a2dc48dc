"""Benchmarks against plain reference implementations, which serve no other purpose."""
