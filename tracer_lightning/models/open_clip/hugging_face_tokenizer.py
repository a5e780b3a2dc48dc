"""Tokenizers of open_clip's models, written for ``AutoTokenizer`` of the ``transformers`` library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
"""File names of a tokenizer and of its settings."""
PROBES = (
    "A photo of the DOG.",
    "  Don't   worry: it's\ta_dog,\nisn't it?  ",
    "Two, three & FOUR (5.5) cats!",
    "",
    "a photo of a dog " * 100,
)
"""Texts that the written tokenizer is compared on."""
PUNCTUATION = r"[!-/:-@\[-`{-~]"
"""ASCII punctuation, which is Python's ``string.punctuation``."""


def save_tokenizer(tokenizer: Any, folder: Path, context_length: int) -> None:
    """Write the files of a tokenizer of ``transformers``, or those of a CLIPTokenizer for open_clip's own.

    open_clip's cleaning of texts (case, punctuation, spaces) becomes part of the tokenizer; its repairs of wrongly
    decoded text, curly quotes and HTML (``basic_clean``) can't.

    Args:
        tokenizer: tokenizer of an open_clip model.
        folder: existing folder.
        context_length: maximum number of tokens of a text.
    """
    if not isinstance(tokenizer, SimpleTokenizer):
        tokenizer.save_pretrained(folder)
        _add_cleaning(tokenizer, folder)
        return
    begin, end = "<|startoftext|>", "<|endoftext|>"
    names = {"<start_of_text>": begin, "<end_of_text>": end}
    write_json(folder / "vocab.json", {names.get(token, token): number for token, number in tokenizer.encoder.items()})
    merges = "".join(f"{first} {second}\n" for first, second in tokenizer.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    tokens = {"bos_token": begin, "eos_token": end, "unk_token": end, "pad_token": end}
    write_json(folder / SETTINGS, {"tokenizer_class": "CLIPTokenizer", "model_max_length": context_length, **tokens})


def _add_cleaning(tokenizer: Any, folder: Path) -> None:
    """Clean texts as open_clip does, before what the tokenizer in the folder does with them itself."""
    from tokenizers import Regex, Tokenizer, normalizers
    from transformers import SiglipTokenizer

    path = folder / TOKENIZER
    if not path.is_file():  # a tokenizer in Python, which has no such step
        if not isinstance(tokenizer.tokenizer, SiglipTokenizer):
            return
        _convert_siglip(tokenizer.tokenizer).save(str(path))
    spaces = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    words = [normalizers.Replace("_", " "), normalizers.Replace(Regex(PUNCTUATION), ""), normalizers.Lowercase()]
    steps = {
        get_clean_fn("whitespace"): spaces,
        get_clean_fn("lower"): [*spaces, normalizers.Lowercase()],
        get_clean_fn("canonicalize"): [*words, *spaces],
    }[tokenizer.clean_fn]
    written = Tokenizer.from_file(str(path))
    own = [] if written.normalizer is None else [written.normalizer]
    written.normalizer = normalizers.Sequence([*steps, *own])
    written.save(str(path))
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    # the classes of certain models, such as T5Tokenizer, have a normalizer of their own in place of the file's
    write_json(folder / SETTINGS, {**settings, "tokenizer_class": "PreTrainedTokenizerFast"})


def _convert_siglip(tokenizer: Any) -> Any:
    """Convert a SiglipTokenizer, with its own cleaning of texts, to a tokenizer of the ``tokenizers`` library."""
    from tokenizers import Regex, normalizers, processors
    from transformers.convert_slow_tokenizer import SpmConverter

    converted, end = SpmConverter(tokenizer).converted(), tokenizer.eos_token
    steps = [normalizers.Replace(Regex(pattern), text) for pattern, text in ((PUNCTUATION, ""), (r"\s+", " "))]
    case = [normalizers.Lowercase()] if tokenizer.do_lower_case else []
    converted.normalizer = normalizers.Sequence([*steps, normalizers.Strip(), *case, converted.normalizer])
    converted.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A $B {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return converted


def check_tokenizer(tokenizer: Any, written: Any, context_length: int) -> None:
    """Raise ValueError where the written tokenizer, as ``AutoTokenizer`` loads it, gives a text other tokens.

    Args:
        tokenizer: tokenizer of an open_clip model.
        written: the one of ``transformers``.
        context_length: maximum number of tokens of a text.
    """
    padding = not isinstance(tokenizer, SimpleTokenizer) and "max_length"  # CLIPTokenizer pads with another token
    for text, row in zip(PROBES, tokenizer(list(PROBES)).tolist(), strict=True):
        tokens = written(text, padding=padding, truncation=True, max_length=context_length).input_ids
        if row[: len(tokens)] != tokens or any(row[len(tokens) :]):
            raise ValueError(
                f"the transformers library has no tokenizer like the model's: {text[:40]!r} has the tokens "
                f"{str(tokens[:8])[1:-1]} there and {str(row[:8])[1:-1]} in open_clip; export in open_clip's format"
            )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file as the ``transformers`` library does."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
