"""Questions about digits."""

import numpy as np
import pytest
import torch

from tests.answering import tiny_llava
from tests.conftest import tiny_backbone
from tracer_lightning.data import DigitQuestionsDataModule, DigitsDataModule
from tracer_lightning.data.digits.styles import CLASSES
from tracer_lightning.data.questions.drawings import COLOURS, STYLES, draw
from tracer_lightning.data.questions.kinds import KINDS, ask, words
from tracer_lightning.models import build_llava

LOADING = {"batch_size": 8, "eval_batch_size": 100, "num_workers": 0, "seed": 0}
NARROW = {
    **{"styles": ["tilted"], "renderings_per_digit": 1, "kinds": ["digit_or"], "wording": 0},
    **{"rendering_seed": 11, "tests": "grid"},
}


@pytest.fixture(scope="module")
def spec():
    return tiny_llava().spec


def module(spec, **options):
    return DigitQuestionsDataModule(spec, **{**NARROW, **LOADING, **options})


ANSWERS = {
    "digit_or": "seven",
    "digit": "seven",
    "colour_or": "blue",
    "colour": "blue",
    "next_or": "eight",
    "next": "eight",
    "even": "no",
    "odd": "yes",
    "larger": "yes",
    "parity": "odd",
    "caption": "blue seven odd",
    "prime": "yes",
    "twice": "four",
    "loops": "zero",
}


@pytest.mark.parametrize("kind", KINDS)
def test_answers_about_a_blue_seven(kind):
    rng = np.random.default_rng(0)
    for _ in range(20):
        question = ask(kind, 7, COLOURS.index("blue"), rng, None, None)
        assert question.answer == ANSWERS[kind]
        assert set(question.text.split()) <= set(words())
        if kind.endswith("_or"):
            options = question.text.split()[-4:]
            assert len(set(options)) == 4
            assert options.count(question.answer) == 1
            assert question.distractor in (None, "seven")
            assert (question.distractor is None) == ("seven" not in options or kind == "digit_or")


@pytest.mark.parametrize("distractor", [True, False])
def test_the_digits_name_is_among_the_options_or_not(distractor):
    rng = np.random.default_rng(0)
    for kind in ("next_or", "colour_or"):
        questions = [ask(kind, digit, 0, rng, 0, distractor) for digit in range(10)]
        assert [(CLASSES[digit] in q.text.split()[-4:]) for digit, q in enumerate(questions)] == [distractor] * 10
        assert [q.distractor for q in questions] == (list(CLASSES) if distractor else [None] * 10)


def test_open_questions_are_distracted_by_the_digits_name():
    assert ask("colour", 3, 0, np.random.default_rng(0), 0, None).distractor == "three"
    assert ask("digit", 3, 0, np.random.default_rng(0), 0, None).distractor is None


@pytest.mark.parametrize("style", STYLES)
def test_drawings(style):
    drawings = draw("val", style, 0)
    assert drawings.pixels.shape == (179, 3, 32, 32)
    assert drawings.pixels.dtype == np.uint8
    assert set(drawings.inks) == set(range(len(COLOURS)))


def test_the_grid(spec):
    data = module(spec)
    sets = {eval_set.name: eval_set for eval_set in data.eval_sets}
    assert len(sets) == 22
    assert sets["id/id/digit_or"][1:5] == ("test", "id", "id", "id")
    assert sets["ood/id/digit_or"].role == "ood"
    assert sets["id/wording/digit_or-1"].role == "ood"
    assert {name: s.text for name, s in sets.items() if s.role == "other"} == {
        f"{image}/{text}/{kind}": text
        for image in ("id", "ood")
        for text, kinds in {
            "task": ("next_or", "colour_or"),
            "distractor": ("next_or", "colour_or"),
            "open": ("next", "colour", "even", "parity"),
        }.items()
        for kind in kinds
    }
    assert all(s.samples == len(data.eval_dataset(s)) for s in data.eval_sets)
    assert data.label_names(sets["id/open/parity"]) == ["even", "odd"]


def test_tasks_of_a_sequence_have_the_same_sets_with_their_own_in_distribution(spec):
    sets = {"tests": "tasks", "task_sets": ["tilted/digit_or", "tiny/twice"]}
    first, second = module(spec, **sets), module(spec, **sets, styles=["tiny"], kinds=["twice"])
    names = [eval_set.name for eval_set in first.eval_sets]
    assert names == [eval_set.name for eval_set in second.eval_sets]
    assert names[:3] == ["tilted/digit_or", "tiny/twice", "general/digit_or"]
    assert len(names) == 2 + 10
    for data, own in ((first, "tilted/digit_or"), (second, "tiny/twice")):
        assert {eval_set.name: eval_set.role for eval_set in data.eval_sets} == {
            name: "id" if name == own else "other" for name in names
        }
    for left, right in zip(first.eval_sets, second.eval_sets, strict=True):
        assert first.label_names(left) == second.label_names(right)
        assert first.eval_dataset(left)[(0, 3)].turns == second.eval_dataset(right)[(0, 3)].turns


def test_splits_and_seeds_keep_drawings_apart(spec):
    data = module(spec)
    trained = {image.tobytes() for image in data.train_dataset().drawings.pixels}
    tested = {image.tobytes() for image in data.eval_dataset(data.eval_sets[0]).drawings.pixels}
    pretrained = {image.tobytes() for image in module(spec, rendering_seed=1).train_dataset().drawings.pixels}
    assert len(trained) == 1078
    assert not trained & tested
    assert not trained & pretrained


def test_test_sets_are_the_same_for_all_seeds(spec):
    left, right = (module(spec, seed=seed) for seed in (0, 1))
    for eval_set in left.eval_sets[3:6]:
        sets = [data.eval_dataset(eval_set) for data in (left, right)]
        for index in range(5):
            assert sets[0][(0, index)].turns == sets[1][(0, index)].turns


def test_questions_are_keyed_by_seed_epoch_and_index(spec):
    kinds = {"kinds": ["digit_or", "colour", "even"], "tests": "kinds", "wording": None}
    data, again, other = module(spec, **kinds), module(spec, **kinds), module(spec, **kinds, seed=1)
    first, same, different = (d.train_dataset() for d in (data, again, other))
    questions = [first.question(0, index) for index in range(50)]
    assert questions == [same.question(0, index) for index in range(50)]
    assert questions != [first.question(1, index) for index in range(50)]
    assert questions != [different.question(0, index) for index in range(50)]


def test_frequencies_of_kinds(spec):
    data = module(spec, kinds=["digit", "even"], kind_weights=[3.0, 1.0], tests="kinds")
    dataset = data.train_dataset()
    share = np.mean([dataset.question(0, index).answer in ("yes", "no") for index in range(len(dataset))])
    assert share == pytest.approx(0.25, abs=0.05)


def test_an_auxiliary_set_may_ask_several_kinds_beside_a_grid(spec):
    data = module(spec)
    data.mix_in({"general": module(spec, kinds=["even", "colour"], evaluates=False)}, 0.9)
    (batch, *_), sets = list(data.train_dataloader()), [eval_set.name for eval_set in data.eval_sets]
    texts = spec.processor.tokenizer.batch_decode(batch.inputs["input_ids"])
    assert any("is the digit even" in text for text in texts)
    assert sets == [eval_set.name for eval_set in module(spec).eval_sets]


def test_training_resumes_at_any_batch(spec):
    def batches(data, start, stop):
        loader = data.train_dataloader()
        drawn = []
        for batch in loader:
            drawn.append(batch)
            if len(drawn) == stop - start:
                return drawn, data.state_dict()
        return drawn, data.state_dict()

    unbroken, _ = batches(module(spec), 0, 4)
    _, state = batches(module(spec), 0, 2)
    continued = module(spec)
    continued.load_state_dict(state)
    resumed, _ = batches(continued, 2, 4)
    for left, right in zip(unbroken[2:], resumed, strict=True):
        assert torch.equal(left.targets, right.targets)
        assert torch.equal(left.inputs["pixel_values"], right.inputs["pixel_values"])


def test_evaluation_is_padded(spec):
    dataset = module(spec).eval_dataset(module(spec).eval_sets[0])
    assert dataset[(0, -1)].position == -1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"styles": ["oil"]}, "styles must name some of .*; got oil"),
        ({"styles": "tilted"}, "styles must be a list"),
        ({"styles": []}, "styles must name some of"),
        ({"rare_styles": ["tilted"]}, "rare_styles must name some of"),
        ({"kinds": ["why"]}, "kinds must name some of .*; got why"),
        ({"kinds": ["even", "odd"]}, "kinds must be a single one where tests is 'grid'"),
        ({"kind_weights": [1.0, 2.0]}, r"kind_weights must be 1 numbers > 0"),
        ({"kind_weights": [0.0]}, r"kind_weights must be 1 numbers > 0"),
        ({"renderings_per_digit": 0}, "renderings_per_digit must be >= 1"),
        ({"wording": -1}, "wording must be >= 0 or None"),
        ({"rendering_seed": 0}, "rendering_seed must be > 0"),
        ({"tests": "cube"}, "tests must be one of grid, kinds, tasks"),
        ({"tests": "tasks"}, "task_sets must be given where tests is 'tasks', and only there; got None"),
        ({"task_sets": ["tiny/twice"]}, "task_sets must be given where tests is 'tasks', and only there"),
        ({"tests": "tasks", "task_sets": ["tiny"]}, "task_sets must be names STYLE/KIND of .*; got tiny"),
        ({"tests": "tasks", "task_sets": ["oil/twice"]}, "task_sets must be names STYLE/KIND of .*; got oil/twice"),
    ],
)
def test_wrong_arguments_are_refused(spec, options, message):
    with pytest.raises(ValueError, match=message):
        module(spec, **options)


def test_a_vocabulary_without_the_words_is_refused():
    sizes = {"width": 16, "layers": 1, "heads": 2}
    tower = {"image_size": 16, "patch_size": 8, **sizes}
    backbone = build_llava(tower, {"context_length": 64, **sizes}, [word for word in words() if word != "zero"])
    with pytest.raises(ValueError, match="the model's vocabulary lacks zero"):
        module(backbone.spec)


def test_models_of_the_other_family_are_refused(spec):
    with pytest.raises(ValueError, match="spec must be that of a model that answers questions"):
        module(tiny_backbone().spec)
    with pytest.raises(ValueError, match="spec must be that of a model of images and captions"):
        DigitsDataModule(spec, ["plain"], 1, max_bad_fraction=0.0, **LOADING)
