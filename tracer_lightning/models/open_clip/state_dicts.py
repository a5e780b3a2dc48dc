"""The weights of one CLIP model in what people save: wrapped, prefixed, and beside other things."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

TEACHER = "teacher.module."
STUDENT = "student."
CLIP = "model."
"""What :class:`ClipModel` puts before open_clip's own names."""
LIGHTNING = "pytorch-lightning_version"
"""Entry of a checkpoint whose weights are its ``state_dict``, whatever else it has."""
WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What ``torch.compile`` and other wrappers put into the names of weights, at any place."""
ANCHORS = (
    "logit_scale",
    "visual.conv1.weight",
    "vision_model.embeddings.class_embedding",
    "token_embedding.weight",
    "visual_projection.weight",
)
"""Names that every CLIP model has once: what stands before the first of them, stands before all names of the model."""
OUTER = ("module.", CLIP)
"""What stands before the names of a model without any of these."""
NO_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}
"""Entries of OpenAI's files that are numbers, and not weights."""
POSITIONS = ".position_ids"
"""End of the names of buffers that older versions of the ``transformers`` library saved."""
DEEPEST = 2
"""Mappings within mappings that are looked at."""


def is_of_run(content: Mapping[str, Any]) -> bool:
    """Whether a file holds the student of a run, beside which there may be a teacher."""
    return any(name.startswith(STUDENT) for name in content.get("state_dict", {}))


def model_state(content: Mapping[str, Any], teacher: bool, where: str) -> dict[str, Tensor]:
    """The tensors of one model.

    Args:
        content: of a file.
        teacher: take the teacher of a run instead of its student.
        where: the file, for errors.

    Returns:
        Tensors by the names of :class:`ClipModel` for a run, and otherwise by those of the file, without what was put
        before them all. Empty where a teacher is asked for and there is none.

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
    bare = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return {name: value for name, value in bare.items() if name not in NO_WEIGHTS and not name.endswith(POSITIONS)}


def _state_dict(content: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The one state dict in a file."""
    if LIGHTNING in content:
        content = content.get("state_dict", {})
    candidates = dict(_candidates(content))
    candidates = {path: state for path, state in candidates.items() if _is_clip(state)} or candidates
    if len(candidates) > 1:
        names = ", ".join(candidates)
        raise ValueError(
            f"{where}: holds the weights of several models: {names[:200]}; write the one that is wanted to a file of "
            "its own: torch.save(torch.load(FILE, weights_only=True)[NAME], OUT)"
        )
    chosen = next(iter(candidates.values()), content)
    state = {name: value for name, value in chosen.items() if isinstance(value, Tensor)}
    if not state:
        entries = ", ".join(map(str, content))
        raise ValueError(f"{where}: holds no weights, only {entries[:200] or 'nothing'}; give a state dict")
    return state


def _candidates(content: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The mappings of names to weights in a file, by their place in it; biases alone make none."""
    if any(isinstance(value, Tensor) and value.ndim > 1 for value in content.values()):
        yield path, content
    elif depth < DEEPEST:
        for name, value in content.items():
            if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
                yield from _candidates(value, f"{path}.{name}" if path else name, depth + 1)


def _is_clip(state: Mapping[str, Any]) -> bool:
    return any(name.endswith(ANCHORS) for name in state)


def _prefix(state: Mapping[str, Tensor], where: str) -> str:
    """What stands before the names of the one CLIP model in a state dict."""
    for anchor in ANCHORS:
        prefixes = [name.removesuffix(anchor) for name in state if f".{name}".endswith(f".{anchor}")]
        if len(prefixes) > 1:
            names = ", ".join(prefix or "no prefix" for prefix in prefixes)
            raise ValueError(
                f"{where}: holds the weights of several models, by the prefixes of their names: {names[:200]}; write "
                "those of one to a file of their own"
            )
        if prefixes:
            return prefixes[0]
    prefix = ""
    while outer := next((part for part in OUTER if all(name.startswith(prefix + part) for name in state)), None):
        prefix += outer
    return prefix
