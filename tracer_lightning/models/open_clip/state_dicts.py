"""Extraction of a CLIP model's weights from checkpoints of various formats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

TEACHER = "teacher.module."
STUDENT = "student."
CLIP = "model."
"""Prefix of open_clip's names in :class:`ClipModel`."""
LIGHTNING = "pytorch-lightning_version"
"""Key that identifies Lightning's checkpoints, whose weights are in ``state_dict``."""
WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Pattern of prefixes that ``torch.compile`` and other wrappers insert into names of weights."""
ANCHORS = (
    "logit_scale",
    "visual.conv1.weight",
    "vision_model.embeddings.class_embedding",
    "token_embedding.weight",
    "visual_projection.weight",
)
"""Names that occur once in every CLIP model; the prefix of the first one is that of all names of the model."""
OUTER = ("module.", CLIP)
"""Prefixes of the names of a model without these anchors."""
NO_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}
"""Entries of OpenAI's files that are not weights."""
POSITIONS = ".position_ids"
"""Suffix of the names of buffers saved by older versions of the ``transformers`` library."""
MAX_DEPTH = 2
"""Maximum depth of nested mappings that are searched for weights."""


def is_run_checkpoint(content: Mapping[str, Any]) -> bool:
    """Whether a file contains the student of a run, and possibly a teacher."""
    return any(name.startswith(STUDENT) for name in content.get("state_dict", {}))


def model_state(content: Mapping[str, Any], teacher: bool, where: str) -> dict[str, Tensor]:
    """Extract the weights of one model.

    Args:
        content: content of a file.
        teacher: whether to extract the teacher of a run instead of its student.
        where: name of the file, for errors.

    Returns:
        Tensors by the names of :class:`ClipModel` for a run, otherwise by the file's names without their common prefix.
        Empty where the teacher is requested and there is none.

    Raises:
        ValueError: there are no weights, or those of several models.
    """
    state = {WRAPPERS.sub("", name): value for name, value in _state_dict(content, where).items()}
    if any(name.startswith((STUDENT, TEACHER)) for name in state):
        part = TEACHER if teacher else STUDENT
        return {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}
    if teacher:
        return {}
    prefix = _prefix(state, where)
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return {name: value for name, value in weights.items() if name not in NO_WEIGHTS and not name.endswith(POSITIONS)}


def _state_dict(content: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """Return the only state dict in a file."""
    if LIGHTNING in content:
        content = content.get("state_dict", {})
    candidates = dict(_candidates(content))
    candidates = {path: state for path, state in candidates.items() if _is_clip(state)} or candidates
    if len(candidates) > 1:
        names = ", ".join(candidates)
        raise ValueError(
            f"{where}: contains the weights of several models: {names[:200]}; save the one to use to its own "
            "file: torch.save(torch.load(FILE, weights_only=True)[NAME], OUT)"
        )
    state_dict = next(iter(candidates.values()), content)
    state = {name: value for name, value in state_dict.items() if isinstance(value, Tensor)}
    if not state:
        entries = ", ".join(map(str, content))
        raise ValueError(f"{where}: contains no weights, only {entries[:200] or 'nothing'}; use a state dict")
    return state


def _candidates(content: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the mappings from names to weights in a file with their paths; mappings with only biases are skipped."""
    if any(isinstance(value, Tensor) and value.ndim > 1 for value in content.values()):
        yield path, content
    elif depth < MAX_DEPTH:
        for name, value in content.items():
            if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
                yield from _candidates(value, f"{path}.{name}" if path else name, depth + 1)


def _is_clip(state: Mapping[str, Any]) -> bool:
    return any(name.endswith(ANCHORS) for name in state)


def _prefix(state: Mapping[str, Tensor], where: str) -> str:
    """Return the common prefix of the names of the only CLIP model in a state dict."""
    for anchor in ANCHORS:
        prefixes = [name.removesuffix(anchor) for name in state if f".{name}".endswith(f".{anchor}")]
        if len(prefixes) > 1:
            names = ", ".join(prefix or "no prefix" for prefix in prefixes)
            raise ValueError(
                f"{where}: contains the weights of several models, by the prefixes of their names: {names[:200]}; save "
                "those of one model to its own file"
            )
        if prefixes:
            return prefixes[0]
    prefix = ""
    while outer := next((part for part in OUTER if all(name.startswith(prefix + part) for name in state)), None):
        prefix += outer
    return prefix
