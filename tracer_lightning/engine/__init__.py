"""Running: a run from its start to its results, and everything that may interrupt it."""
