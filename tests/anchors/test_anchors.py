"""Anchors against naive loops, and what they leave alone."""

import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.anchors import BatchCaptions, ClassPrompts, ContextPrompts, RandomTokens, no_anchors
from tracer_lightning.types import ClipFeatures

NAMES = ("zero", "one", "number two")
TEMPLATES = ("a photo of a {}.", "a drawing of the {}.", "{}", "one more {}")
BEGIN, END = 49406, 49407


@pytest.fixture(scope="module")
def spec():
    return tiny_backbone().spec


@pytest.fixture(scope="module")
def model():
    return tiny_backbone().model.double()


@pytest.fixture(scope="module")
def prompts(spec):
    return torch.stack([spec.tokenize([template.format(name) for template in TEMPLATES]) for name in NAMES])


@pytest.fixture
def teacher():
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(6, 16, generator=generator, dtype=torch.double) for _ in range(2))
    return ClipFeatures(image, text, torch.tensor(3.0))


def unit(vector):
    return vector / vector.square().sum().sqrt()


def embedding(model, spec, template, name):
    return model.encode_text(spec.tokenize([template.format(name)]))[0]


class Refused:
    """A model that must not be asked."""

    def encode_text(self, texts):
        raise AssertionError("encoded")


refused = Refused()


def test_class_prompts_by_loops(model, spec, prompts, teacher):
    expected = [unit(sum(embedding(model, spec, template, name) for template in TEMPLATES)) for name in NAMES]
    anchors = ClassPrompts(model, prompts)(refused, teacher, 3)
    torch.testing.assert_close(anchors, torch.stack(expected), rtol=1e-12, atol=1e-13)
    assert not anchors.requires_grad


def test_context_prompts_by_loops(model, spec, prompts, teacher):
    expected = [unit(sum(embedding(model, spec, template, name) for name in NAMES)) for template in TEMPLATES]
    anchors = ContextPrompts(model, prompts)(refused, teacher, 3)
    torch.testing.assert_close(anchors, torch.stack(expected), rtol=1e-12, atol=1e-13)
    assert not anchors.requires_grad


def test_a_single_template_raises_an_error(model, prompts):
    with pytest.raises(ValueError, match="prompts must have two templates or more to compare contexts, found 1"):
        ContextPrompts(model, prompts[:, :1])


@pytest.mark.parametrize("kind", [ClassPrompts, ContextPrompts])
def test_constants_are_fixed_and_not_saved(prompts, teacher, kind):
    model = tiny_backbone().model
    anchors = kind(model, prompts)
    before = anchors(refused, teacher, 0).clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert torch.equal(anchors(refused, teacher, 7), before)
    assert not anchors.state_dict()
    assert anchors.double()(refused, teacher, 7).dtype == torch.double


def test_captions_are_those_that_the_teacher_saw(model, prompts, teacher):
    anchors = BatchCaptions(model, prompts)
    assert anchors(refused, teacher, 0) is teacher.text
    assert anchors.reads == {"text"}
    assert not ClassPrompts.reads
    assert not RandomTokens.reads


def test_no_anchors_are_none(model, prompts):
    assert no_anchors(model, prompts=prompts) is None


# -- random texts ------------------------------------------------------------------------------------------------------


def make_anchors(model, prompts, count=7, length=5, seed=0):
    return RandomTokens(model, prompts, count, length, seed)


def test_random_texts_begin_and_end_as_texts_do(model, prompts):
    tokens = make_anchors(model, prompts, count=2000).tokens(3)
    assert tokens.shape == (2000, 7)
    assert set(tokens[:, 0].tolist()) == {BEGIN}
    assert set(tokens[:, -1].tolist()) == {END}
    inside = tokens[:, 1:-1]
    assert inside.min() >= 0
    assert inside.max() < BEGIN
    assert inside.double().mean().item() == pytest.approx(BEGIN / 2, rel=0.05)  # uniform
    assert inside.double().std().item() == pytest.approx(BEGIN / 12**0.5, rel=0.05)
    assert inside.unique().numel() > 0.85 * inside.numel()


def test_random_texts_depend_on_seed_and_step_alone(model, prompts):
    anchors = make_anchors(model, prompts)
    first = anchors.tokens(3)
    anchors.tokens(4)
    assert torch.equal(anchors.tokens(3), first)
    assert torch.equal(make_anchors(model, prompts).tokens(3), first)
    for other in (
        anchors.tokens(2),
        make_anchors(model, prompts, seed=1).tokens(3),
        make_anchors(model, prompts, seed=3).tokens(0),
    ):
        assert not torch.equal(other, first)


def test_random_texts_do_not_interact_with_the_global_generator(model, prompts):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = make_anchors(model, prompts).tokens(0)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(1)
    assert torch.equal(make_anchors(model, prompts).tokens(0), first)


def test_random_texts_are_encoded_as_texts_of_full_length_are(model, prompts, teacher):
    anchors = make_anchors(model, prompts)
    padded = torch.zeros(7, 16, dtype=torch.long)
    padded[:, :7] = anchors.tokens(5)
    expected = model.model.encode_text(padded, normalize=True)
    result = anchors(model, teacher, 5)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-13)
    assert not result.requires_grad


class Other:
    """A text tower that takes texts of full length alone."""

    trims_text = False
    context_length = 16


def test_text_towers_of_fixed_length_raise_errors(prompts):
    with pytest.raises(ValueError, match="model must have CLIP's own causal text tower"):
        make_anchors(Other(), prompts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count must be >= 1, found 0"),
        ({"length": 0}, "length must be from 1 to 14, the longest text of the model, found 0"),
        ({"length": 15}, "length must be from 1 to 14, the longest text of the model, found 15"),
    ],
)
def test_impossible_sizes_raise_errors(model, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        make_anchors(model, prompts, **options)
    make_anchors(model, prompts, length=14)
