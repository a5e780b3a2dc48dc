"""Validation of relative paths."""

from __future__ import annotations


def check_relative(path: str) -> str:
    """Return a relative path; raise ValueError where it could leave the folder that it is joined to.

    Call this with the final path, after any patterns in it have been expanded.
    """
    if any(part.strip() in ("", ".", "..") or not part.isprintable() for part in path.split("/")):
        raise ValueError(
            f"{path} must be a relative path within its folder: without a leading /, without .. and without empty names"
        )
    return path
