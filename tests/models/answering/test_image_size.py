"""The largest number of pixels of an image, for processors of each kind."""

import copy
from types import SimpleNamespace

import pytest
import torch
import transformers

from tests.answering import tiny_llava
from tests.chat_models import gemma3, llava, llava_onevision, paligemma, qwen, smolvlm
from tracer_lightning.models import load_pretrained
from tracer_lightning.models.answering.image_size import limit_pixels

PHOTO = torch.zeros(3, 300, 400, dtype=torch.uint8)


def pixels(processor, image=PHOTO):
    """Number of pixels that a model is given of an image, with overviews."""
    values = processor(image, return_tensors="pt")["pixel_values"]
    return values.numel() // 3 // getattr(processor, "temporal_patch_size", 1)


def limited(processor, max_pixels, config=None):
    processor = copy.deepcopy(processor)
    limit_pixels(processor, config or SimpleNamespace(), max_pixels)
    return processor


def test_qwen_counts_pixels():
    processor = copy.deepcopy(qwen()[0])
    images = processor.image_processor
    assert pixels(images) > 50_000
    for limit in (20_000, 4096):
        limit_pixels(images, SimpleNamespace(), limit)
        assert limit / 2 < pixels(images) <= limit
        text = processor(images=[[PHOTO]], text=["<|vision_start|><|image_pad|><|vision_end|>"])
        assert len(text["input_ids"][0]) == pixels(images) / 16**2 + 2  # one token for 16 x 16 pixels here
    limit_pixels(images, SimpleNamespace(), 10**9)
    assert images.size["longest_edge"] == 4096  # never larger
    limit_pixels(images, SimpleNamespace(), 200)
    assert dict(images.size) == {"shortest_edge": 200, "longest_edge": 200}


def test_a_photo_of_12_megapixels_gives_a_thousand_tokens():
    own = transformers.Qwen2VLImageProcessor(min_pixels=3136, max_pixels=12845056)  # Qwen2.5-VL's
    patches = [processor.get_number_of_image_patches(3000, 4000) for processor in (own, limited(own, 1024 * 1024))]
    assert [number // 4 for number in patches] == [15301, 1302]


def test_edges_and_whole_tiles():
    processor = smolvlm()[0].image_processor  # tiles of 32 x 32 pixels
    assert pixels(processor) == (4 * 3 + 1) * 32 * 32  # with the overview
    assert pixels(limited(processor, 100 * 100)) == (3 * 3 + 1) * 32 * 32
    assert pixels(limited(processor, 40 * 40)) == 32 * 32  # a single tile is its own overview
    with pytest.raises(ValueError, match="every image to 1024 pixels or more; set max_pixels to at least 1024"):
        limited(processor, 1000)
    idefics2 = transformers.Idefics2ImageProcessor(do_image_splitting=False)
    assert pixels(limited(idefics2, 10_000)) <= 10_000
    pixtral = transformers.PixtralImageProcessor(size={"longest_edge": 256}, patch_size={"height": 16, "width": 16})
    assert dict(limited(pixtral, 10_000).size) == {"longest_edge": 100}


def test_grids_of_processor_and_model_stay_the_same():
    processor, config = llava_onevision()[0].image_processor, SimpleNamespace()
    smaller = limited(processor, 2048, config)
    assert smaller.image_grid_pinpoints == config.image_grid_pinpoints == [[32, 32], [32, 64], [64, 32]]
    assert pixels(smaller) <= 2048 + 32 * 32 < pixels(processor)
    with pytest.raises(ValueError, match="set max_pixels to at least 1024, or to null"):
        limited(processor, 1023)


def test_numbers_of_tiles():
    processor = transformers.GotOcr2ImageProcessor(size={"height": 32, "width": 32}, crop_to_patches=True)
    assert limited(processor, 3 * 32 * 32).max_patches == 3
    assert pixels(limited(processor, 3 * 32 * 32)) <= 4 * 32 * 32 < pixels(processor)  # with the overview


@pytest.mark.parametrize("family", [llava, gemma3, paligemma])
def test_a_fixed_size_is_kept_or_refused(family):
    processor = family()[0].image_processor
    assert pixels(limited(processor, 1024)) == pixels(processor) == 1024
    with pytest.raises(ValueError, match="max_pixels=1023: the model resizes every image to 1024 pixels or more"):
        limited(processor, 1023)


@pytest.mark.parametrize("name", ["Lfm2VlImageProcessor", "Kimi_K25ImageProcessor", "Phi4MultimodalImageProcessor"])
def test_unknown_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"how {name} limits images is not known; set max_pixels to null"):
        limited(getattr(transformers, name)(), 10**6)


def test_a_limit_is_positive():
    with pytest.raises(ValueError, match="max_pixels must be >= 1 or None, got 0"):
        limited(llava()[0].image_processor, 0)


def test_padded_tiles_are_counted():
    processor = transformers.MllamaImageProcessor(size={"height": 32, "width": 32})
    with pytest.raises(ValueError, match="set max_pixels to at least 4096, or to null"):
        limited(processor, 4095)


def test_published_sizes_fit_the_default_of_own_questions():
    """Those of LLaVA-1.5, LLaVA-OneVision, SmolVLM and Gemma 3."""
    limit = 1024 * 1024
    llava_size = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    assert limited(transformers.CLIPImageProcessor(**llava_size), limit).size["shortest_edge"] == 336
    onevision = limited(transformers.LlavaOnevisionImageProcessor(), limit)
    assert max(height * width for height, width in onevision.image_grid_pinpoints) == 384 * 2304
    smolvlm_size = {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}
    assert limited(transformers.SmolVLMImageProcessor(**smolvlm_size), limit).size["longest_edge"] == 1024
    gemma_size = {"height": 896, "width": 896}
    assert dict(limited(transformers.Gemma3ImageProcessor(size=gemma_size), limit).size) == gemma_size


def test_a_model_is_loaded_with_a_limit(tmp_path):
    backbone = tiny_llava()
    backbone.model.export(backbone, tmp_path)
    assert load_pretrained(str(tmp_path), max_pixels=256).spec.processor.image_processor.size["shortest_edge"] == 16
    with pytest.raises(ValueError, match="set max_pixels to at least 256, or to null"):
        load_pretrained(str(tmp_path), max_pixels=255)
