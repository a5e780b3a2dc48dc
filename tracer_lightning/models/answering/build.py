"""Building and loading image-text-to-text models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from tracer_lightning.models.answering.image_size import limit_pixels
from tracer_lightning.models.answering.missing import missing_library
from tracer_lightning.models.answering.model import AnsweringModel
from tracer_lightning.models.model import Backbone
from tracer_lightning.types import ConversationSpec

TIMEOUT = 4.0
"""Seconds to wait for the hub's response."""
GENERATION = "generation_config.json"
"""File of a model's defaults for generation."""
FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""Patterns of the files that are downloaded: weights as safetensors, never pickles."""
PAD, UNKNOWN, END, IMAGE, ANSWER = "<pad>", "<unk>", "<eos>", "<image>", "<answer>"
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    f"{{% if part['type'] == 'image' %}}{IMAGE} "
    "{% elif message['role'] != 'assistant' %}{{ part['text'] }} "
    f"{{% else %}}{ANSWER} {{{{ part['text'] }}}} {END} {{% endif %}}"
    f"{{% endfor %}}{{% endfor %}}{{% if add_generation_prompt %}}{ANSWER}{{% endif %}}"
)
"""Chat template of the small LLaVA: images and words of the user, then the answer and its end."""
Dtype = Literal["float32", "bfloat16", "float16"]


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise missing_library("transformers") from error
    return transformers


def _processor(words: Sequence[str], image_size: int, patch_size: int) -> Any:
    """Processor with a tokenizer of whole words, which crops the middle of images to squares."""
    transformers = _transformers()
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: index for index, word in enumerate(dict.fromkeys((PAD, UNKNOWN, END, IMAGE, ANSWER, *words)))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        extra_special_tokens={"image_token": IMAGE, "answer_token": ANSWER},
    )
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": image_size},
        crop_size={"height": image_size, "width": image_size},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )


def build_llava(
    vision_cfg: Mapping[str, int], text_cfg: Mapping[str, int], words: Sequence[str], max_pixels: int | None = None
) -> Backbone:
    """Build a LLaVA (Liu et al., 2023) with random weights: a CLIP tower, a projector and a Llama that reads words.

    Args:
        vision_cfg: ``image_size`` and ``patch_size`` in pixels, ``width``, ``layers`` and ``heads`` of the tower.
        text_cfg: ``context_length`` in tokens, ``width``, ``layers`` and ``heads`` of the Llama.
        words: vocabulary; texts are split at blanks.
        max_pixels: maximum number of pixels of an image, as for :func:`load_pretrained`.

    Raises:
        ValueError: ``transformers`` is missing, the patches don't fill an image, or images have more pixels.
    """
    transformers = _transformers()
    image_size, patch_size = vision_cfg["image_size"], vision_cfg["patch_size"]
    if image_size % patch_size:
        raise ValueError(f"vision_cfg.image_size={image_size} must be a multiple of patch_size={patch_size}")
    processor = _processor(words, image_size, patch_size)
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=vision_cfg["width"],
            intermediate_size=2 * vision_cfg["width"],
            num_hidden_layers=vision_cfg["layers"],
            num_attention_heads=vision_cfg["heads"],
            image_size=image_size,
            patch_size=patch_size,
        ),
        text_config=transformers.LlamaConfig(
            vocab_size=len(processor.tokenizer),
            hidden_size=text_cfg["width"],
            intermediate_size=2 * text_cfg["width"],
            num_hidden_layers=text_cfg["layers"],
            num_attention_heads=text_cfg["heads"],
            num_key_value_heads=text_cfg["heads"],
            max_position_embeddings=text_cfg["context_length"],
            tie_word_embeddings=False,
            initializer_range=0.05,
            pad_token_id=processor.tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=processor.tokenizer.eos_token_id,
        ),
        image_token_index=processor.tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        image_seq_length=(image_size // patch_size) ** 2,
        tie_word_embeddings=False,
    )
    model = transformers.AutoModelForImageTextToText.from_config(config)
    if max_pixels is not None:
        limit_pixels(processor.image_processor, model.config, max_pixels)
    return _backbone(model, processor, None)


def load_pretrained(
    name: str,
    revision: str | None = None,
    dtype: Dtype = "float32",
    attention: str = "sdpa",
    trust_remote_code: bool = False,
    parts: Mapping[str, Sequence[str]] | None = None,
    chat_template: str | None = None,
    max_pixels: int | None = None,
    load_weights: bool = True,
) -> Backbone:
    """Load an image-text-to-text model of ``transformers`` with its processor; weights are read from safetensors only.

    Args:
        name: repository on the hub, or local folder.
        revision: branch, tag or commit on the hub; None for the default branch.
        dtype: type of the weights.
        attention: implementation of attention in ``transformers``, such as ``sdpa`` or ``flash_attention_2``.
        trust_remote_code: whether Python code of the repository is executed.
        parts: components of parameter names by part, ``image`` and ``connector``; None for those of known models.
        chat_template: file with a chat template in Jinja; None for the processor's own.
        max_pixels: maximum number of pixels that an image is reduced to; None for the processor's own size.
        load_weights: whether to load the weights; the architecture alone is enough where others are loaded afterwards.

    Raises:
        ValueError: ``transformers`` is missing, the model can't be found or takes no images, or the processor lacks a
            chat template, a fast tokenizer, or a setting for ``max_pixels``.
    """
    transformers = _transformers()
    template = None if chat_template is None else _read_template(chat_template)
    folder = _local_folder(name, revision, trust_remote_code)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **options)
    except Exception as error:  # a faulty configuration raises errors of many classes
        raise ValueError(f"name={name}: its configuration can't be read: {_first_line(error)}") from error
    if not _takes_images(transformers, config, trust_remote_code):
        raise ValueError(
            f"name={name}: a {config.model_type} model takes no images; choose an image-text-to-text model"
        )
    automatic = transformers.AutoModelForImageTextToText
    options |= {"dtype": getattr(torch, dtype), "attn_implementation": attention}
    try:
        if load_weights:
            model = automatic.from_pretrained(folder, use_safetensors=True, **options)
        else:
            model = automatic.from_config(config, **options)
        processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # so do faulty files
        raise ValueError(f"name={name}: the model can't be loaded: {_first_line(error)}") from error
    if template is not None:
        processor.chat_template = template
    _check_processor(processor, name)
    if max_pixels is not None:
        limit_pixels(processor.image_processor, model.config, max_pixels)
    if (Path(folder) / GENERATION).is_file():  # a model without its weights has not read it
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    return _backbone(model, processor, parts)


def _read_template(name: str) -> str:
    try:
        template = Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"chat_template={name} must be a text file with a template: {error}") from error
    if not template.strip():
        raise ValueError(f"chat_template={name} must be a text file with a template, and it is empty")
    return template


def _check_processor(processor: Any, name: str) -> None:
    if getattr(processor, "chat_template", None) is None:
        raise ValueError(
            f"name={name}: its processor has no chat template; choose an instruction-tuned model, or set chat_template "
            "to a file with one"
        )
    if not processor.tokenizer.is_fast:
        raise ValueError(
            f"name={name}: its tokenizer does not tell which characters its tokens stand for; choose a model with a "
            "file tokenizer.json"
        )


def _takes_images(transformers: Any, config: Any, trust_remote_code: bool) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    own_code = trust_remote_code and transformers.AutoModelForImageTextToText.__name__ in getattr(
        config, "auto_map", {}
    )
    return config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES or own_code


def _local_folder(name: str, revision: str | None, trust_remote_code: bool) -> str:
    """Folder of a model's files, downloaded to the hub's cache where they are on the hub."""
    if Path(name).is_dir():
        return name
    from huggingface_hub import snapshot_download

    patterns = [*FILES, *(["*.py"] if trust_remote_code else [])]
    try:
        return snapshot_download(name, revision=revision, etag_timeout=TIMEOUT, allow_patterns=patterns)
    except Exception as error:  # its HTTP library, and with it the class of a failed connection, varies
        raise ValueError(
            f"name={name}: neither a local folder nor available from the hub, which is offline or lacks it "
            f"({_first_line(error)}); download the model on a machine with network access, copy its folder here, and "
            "set name to that folder"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]


def _backbone(model: Any, processor: Any, parts: Mapping[str, Sequence[str]] | None) -> Backbone:
    """The model with what its data module must know."""
    tokenizer = processor.tokenizer
    if tokenizer.pad_token is None:
        warnings.warn(
            f"the tokenizer of {type(processor).__name__} has no padding token; {tokenizer.eos_token}, which ends an "
            "answer, is used for it",
            stacklevel=3,
        )
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    ends = _find_ends(model, tokenizer)
    model.generation_config.eos_token_id = list(ends)
    text_config = model.config.get_text_config()
    spec = ConversationSpec(processor, int(text_config.max_position_embeddings), ends)
    return Backbone(AnsweringModel(model, parts), spec, model.config.to_dict())


def _find_ends(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens at which generation stops: the tokenizer's end, and those of the model's defaults for generation."""
    defaults = model.generation_config.eos_token_id
    listed = defaults if isinstance(defaults, list) else [defaults]
    ends = dict.fromkeys(token for token in (tokenizer.eos_token_id, *listed) if token is not None)
    if not ends:
        raise ValueError(
            f"neither the tokenizer nor {GENERATION} names a token that ends an answer; add eos_token to "
            "tokenizer_config.json"
        )
    return tuple(ends)
