"""Names that become paths below a folder."""

from __future__ import annotations


def below(path: str) -> str:
    """A relative path of plain names, which leads nowhere but below the folder that it is joined to; else ValueError.

    It is the path that is finally opened that must be asked about, after whatever patterns it had are expanded.
    """
    if any(name.strip() in ("", ".", "..") or not name.isprintable() for name in path.split("/")):
        raise ValueError(f"{path} must be a name, of what lies below its folder: no /NAME, no .. and no empty name")
    return path
