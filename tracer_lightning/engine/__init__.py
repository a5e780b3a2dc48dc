"""Running a built experiment from its start to its results, and everything that may interrupt it."""
