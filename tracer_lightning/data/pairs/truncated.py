"""Captions that are longer than the context of a model."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

from torch import Tensor

from tracer_lightning.data.pairs.problems import SHOWN, listed
from tracer_lightning.data.pairs.sources import PairSource
from tracer_lightning.functional.wording import counted

SPECIAL_TOKENS = 3
"""Maximum number of tokens that tokenizers add to those of a caption."""
CHUNK = 1024
"""Number of captions that are tokenized at once."""
LONGEST_SHOWN = 60
"""Maximum number of characters of a caption in a message."""


def warn_truncated(source: PairSource, tokenize: Callable[..., Tensor], name: object) -> None:
    """Warn of captions of which a model does not see the end.

    Args:
        source: images with captions.
        tokenize: open_clip tokenizer, from texts to (N, context length) token ids.
        name: name of the set, for messages.
    """
    length = tokenize([""]).shape[1]
    captions = (caption for index in range(len(source)) for caption in source.captions(index))
    # a token has at least one byte
    long_ones = [caption for caption in captions if len(caption.encode()) + SPECIAL_TOKENS > length]
    truncated: list[str] = []
    for start in range(0, len(long_ones), CHUNK):
        chunk = long_ones[start : start + CHUNK]
        cut, longer = tokenize(chunk), tokenize(chunk, context_length=length + 1)
        is_cut = (cut != longer[:, :length]).any(dim=1).tolist()  # tokenizers keep the token that ends a text
        truncated += itertools.compress(chunk, is_cut)
    if truncated:
        examples = [f"{caption[:LONGEST_SHOWN]}..." for caption in truncated[:SHOWN]]
        number = counted(len(truncated), "caption is", "captions are")
        warnings.warn(
            f"{name}: {number} longer than the {length} tokens of the model's context, where the tokenizer cuts: "
            f"{listed(examples, len(truncated))}",
            stacklevel=2,
        )
