"""Processors of known families with their own chat templates, and small tokenizers of the kinds that they have."""

from functools import cache

import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAVA = """\
{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}\
{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}\
{{ '<image>\\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}\
{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{% endfor %}\
{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}\
{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""
LLAVA_ONEVISION = """\
{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}{# Render all images first #}\
{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}\
{# Render all video then #}{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}\
{{ '<video>' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}\
{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\\n' + content['text'] }}\
{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}\
{% generation %}{{ '\\n' + content['text'] }}{% endgeneration %}{% endfor %}{% endif %}{{'<|im_end|>'}}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
QWEN = """\
{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages %}\
{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}{% for content in message['content'] %}\
{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}\
{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}\
<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' or 'video' in content %}\
{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}\
<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}\
<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
SMOLVLM = """\
<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}\
{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}\
{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}\
{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""
GEMMA3 = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}"""
PALIGEMMA = """\
{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\
{% else %}{{ part['text'] }}{% endif %}{% endfor %}\
{{ '\\n' if message['role'] == 'user' else eos_token }}{% endfor %}"""
"""Written for these tests, since the model has none of its own: a question, a line feed, and the answer."""
TEXTS = [
    "USER: which animal is this? ASSISTANT: cat. User: what colour? Assistant: dark red, model user assistant"
] * 20


def _tokenizer(core, tokens, post=None, **special):
    core.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=400,
            show_progress=False,
            special_tokens=[*special.values(), *tokens],
            initial_alphabet=[*pre_tokenizers.ByteLevel.alphabet(), "▁", "\n"],
        ),
    )
    if post:
        core.post_processor = processors.TemplateProcessing(
            single=f"{post} $A", special_tokens=[(post, core.token_to_id(post))]
        )
    return core, special


def _wrapped(core, special, **extra):
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, extra_special_tokens=extra, **special)


def llama_tokenizer():
    """As LLaVA-1.5's: a blank before each text, blanks as underlines, and a token at the beginning."""
    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(content=" ", left=1, right=0)]
    )
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return _wrapped(*_tokenizer(core, ["<image>"], "<s>", **special), image_token="<image>")


def gemma_tokenizer(*tokens, **extra):
    """As Gemma's: blanks as underlines, and a token at the beginning."""
    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Replace(" ", "▁")
    core.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return _wrapped(*_tokenizer(core, [*tokens, *extra.values()], "<bos>", **special), **extra)


def byte_tokenizer(eos, tokens=(), bos=None, **extra):
    """As Qwen's and SmolVLM's: bytes, and words with the blank before them."""
    core = Tokenizer(models.BPE())
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    special = {"eos_token": eos, "pad_token": "<|endoftext|>", **({"bos_token": bos} if bos else {})}
    return _wrapped(*_tokenizer(core, [*tokens, *extra.values()], **special), **extra)


@cache
def llava():
    """LLaVA-1.5, whose template has no end of an answer."""
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    tokens = {"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    return transformers.LlavaProcessor(images, llama_tokenizer(), chat_template=LLAVA, **tokens), None


@cache
def llava_onevision():
    """LLaVA-OneVision, whose template heads answers otherwise than it asks for them."""
    grid = [[32, 32], [32, 64], [64, 32], [64, 64]]
    images = transformers.LlavaOnevisionImageProcessor(size={"height": 32, "width": 32}, image_grid_pinpoints=grid)
    tokenizer = byte_tokenizer("<|im_end|>", ["<|im_start|>"], image_token="<image>", video_token="<video>")
    return transformers.LlavaOnevisionProcessor(
        images,
        tokenizer,
        transformers.LlavaOnevisionVideoProcessor(),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        chat_template=LLAVA_ONEVISION,
    ), None


@cache
def qwen():
    """Qwen2.5-VL."""
    images = transformers.Qwen2VLImageProcessor(patch_size=8, min_pixels=256, max_pixels=65536)
    tokenizer = byte_tokenizer(
        "<|im_end|>",
        ["<|im_start|>", "<|vision_start|>", "<|vision_end|>"],
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
    )
    video = transformers.Qwen2VLVideoProcessor(patch_size=8)
    return transformers.Qwen2_5_VLProcessor(images, tokenizer, video, chat_template=QWEN), ["<|im_end|>"]


@cache
def smolvlm():
    """SmolVLM, with an end that only its defaults for generation name."""
    images = transformers.SmolVLMImageProcessor(size={"longest_edge": 128}, max_image_size={"longest_edge": 32})
    tokenizer = byte_tokenizer(
        "<|endoftext|>",
        ["<end_of_utterance>"],
        bos="<|im_start|>",
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
    )
    video = transformers.SmolVLMVideoProcessor()
    return transformers.SmolVLMProcessor(images, tokenizer, video, image_seq_len=4, chat_template=SMOLVLM), [
        "<end_of_utterance>"
    ]


@cache
def gemma3():
    """Gemma 3, whose turns end otherwise than its texts."""
    images = transformers.Gemma3ImageProcessor(size={"height": 32, "width": 32})
    tokenizer = gemma_tokenizer(
        "<start_of_turn>",
        "<end_of_turn>",
        image_token="<image_soft_token>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
    )
    return transformers.Gemma3Processor(images, tokenizer, chat_template=GEMMA3, image_seq_length=4), [
        "<eos>",
        "<end_of_turn>",
    ]


@cache
def paligemma():
    """PaliGemma, whose processor rewrites texts."""
    images = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    images.image_seq_length = 16
    tokenizer = gemma_tokenizer(image_token="<image>")
    return transformers.PaliGemmaProcessor(images, tokenizer, chat_template=PALIGEMMA), None


FAMILIES = (llava, llava_onevision, qwen, smolvlm, gemma3, paligemma)
