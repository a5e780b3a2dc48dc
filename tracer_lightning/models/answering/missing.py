"""The error for libraries that only models of this family need."""

from __future__ import annotations


def missing_library(name: str) -> ValueError:
    """The error for a library that is not installed.

    Args:
        name: name of the library.
    """
    return ValueError(f"models that answer questions need {name}: pip install 'tracer-lightning[mllm]'")
