"""Collation of conversations: targets at the tokens of answers."""

import copy
import tracemalloc

import pytest
import torch

from tests.answering import QUESTIONS, conversation, tiny_llava
from tracer_lightning.data.questions import conversations
from tracer_lightning.data.questions.conversations import ConversationCollate

IMAGE_TOKENS = 4


@pytest.fixture(scope="module")
def spec():
    return tiny_llava().spec


@pytest.fixture(scope="module")
def collate(spec):
    return ConversationCollate(spec)


def decoded(spec, batch, row):
    """The words that a row is trained to give, each with the word before it."""
    ids, targets = batch.inputs["input_ids"][row], batch.targets[row]
    names = spec.processor.tokenizer.convert_ids_to_tokens
    return [tuple(names([int(ids[i]), int(targets[i])])) for i in (targets != -1).nonzero()[:, 0].tolist()]


def test_only_the_answer_and_its_end_are_trained(spec, collate):
    batch = collate([conversation(QUESTIONS[1]), conversation(QUESTIONS[0], position=1)])
    assert decoded(spec, batch, 0) == [("<answer>", "red"), ("red", "three"), ("three", "odd"), ("odd", "<eos>")]
    assert decoded(spec, batch, 1) == [("<answer>", "yes"), ("yes", "<eos>")]
    assert batch.inputs["input_ids"].shape == (2, IMAGE_TOKENS + 4 + 1 + 4)  # the question, <answer>, and the answer
    assert batch.indices.tolist() == [0, 1]
    assert batch.inputs["attention_mask"].sum(1).tolist() == [13, 12]  # padded on the right
    assert batch.inputs["attention_mask"][1, -1] == 0


def test_every_turn_is_trained(spec, collate):
    batch = collate([conversation(QUESTIONS[0], QUESTIONS[2], answer=-1)])
    assert decoded(spec, batch, 0) == [("<answer>", "yes"), ("yes", "<eos>"), ("<answer>", "blue"), ("blue", "<eos>")]


def test_positions_of_three_turns_by_hand(collate):
    """The image, 5 + 4 words, and in each turn <answer>, its words and <eos>; a target is one position earlier."""
    batch = collate([conversation(*QUESTIONS, answer=-1)])
    first = IMAGE_TOKENS + 5
    second = first + 3 + 4
    third = second + 5 + 6
    expected = [first, first + 1, *range(second, second + 4), third, third + 1]
    assert (batch.targets[0] != -1).nonzero()[:, 0].tolist() == expected
    assert batch.targets.shape[1] == third + 3


def test_the_last_turn_is_evaluated(spec, collate):
    batch = collate([conversation(QUESTIONS[0], QUESTIONS[2], answer=4)])
    assert decoded(spec, batch, 0) == [("<answer>", "blue"), ("blue", "<eos>")]
    assert batch.answers.tolist() == [4]


def test_pixels_are_those_of_the_processor(collate):
    batch = collate([conversation(QUESTIONS[0])])
    expected = conversation(QUESTIONS[0]).image.float() / 127.5 - 1
    torch.testing.assert_close(batch.inputs["pixel_values"][0], expected, atol=1e-6, rtol=0)


def test_distractors(spec, collate):
    rows = [conversation(QUESTIONS[2], distractor="three four"), conversation(QUESTIONS[2], distractor="red")]
    three, four, red = spec.processor.tokenizer.convert_tokens_to_ids(["three", "four", "red"])
    assert collate([*rows, conversation(QUESTIONS[2])]).distractors.tolist() == [[three, four], [red, -1], [-1, -1]]
    assert collate([conversation(QUESTIONS[2])]).distractors.shape == (1, 0)


@pytest.mark.parametrize(
    ("distractor", "expected"),
    [
        ("red four even", ["red", "four", "even"]),  # it begins like the answer
        ("red three odd or", ["red", "three", "odd", "or"]),
        ("red three", ["red", "three", "<eos>"]),  # the answer begins with it
        ("red  three odd", []),  # it has the answer's tokens
    ],
)
def test_a_distractor_is_told_apart_from_the_answer(spec, collate, distractor, expected):
    ids = collate([conversation(QUESTIONS[1], distractor=distractor)]).distractors[0].tolist()
    assert spec.processor.tokenizer.convert_ids_to_tokens(ids) == expected


def test_a_system_message_is_read_but_not_trained(spec, collate):
    asked = conversation(QUESTIONS[0])
    batch = collate([asked._replace(system="the digit is odd"), asked])
    assert decoded(spec, batch, 0) == decoded(spec, batch, 1) == [("<answer>", "yes"), ("yes", "<eos>")]
    names = spec.processor.tokenizer.convert_ids_to_tokens(batch.inputs["input_ids"][0].tolist())
    assert names[:6] == ["the", "digit", "is", "odd", "<image>", "<image>"]
    assert batch.inputs["attention_mask"].sum(1).diff().item() == -4


def test_a_template_for_contents_that_are_texts_is_refused(spec):
    processor = copy.deepcopy(spec.processor)
    processor.chat_template = (
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}{% endfor %}"
    )
    with pytest.raises(
        ValueError, match=r"^row 0: the chat template refuses .* \(not \"list\"\) to str; set chat_template"
    ):
        ConversationCollate(spec._replace(processor=processor))([conversation(QUESTIONS[0])])


def test_a_template_that_refuses_a_system_message_names_the_row(spec):
    processor = copy.deepcopy(spec.processor)
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    processor.chat_template = refusal + processor.chat_template
    collate = ConversationCollate(spec._replace(processor=processor))
    second = conversation(QUESTIONS[1], position=1)
    collate([second])
    with pytest.raises(
        ValueError, match=r"^row 1: the chat template refuses .*: System role not supported; remove its"
    ):
        collate([conversation(QUESTIONS[0]), second._replace(system="is it odd ?")])


def test_a_long_conversation_is_refused(spec):
    collate = ConversationCollate(spec._replace(context_length=12))
    with pytest.raises(ValueError, match="row 7: a conversation of 13 tokens, and the model's context has 12"):
        collate([conversation(QUESTIONS[0]), conversation(QUESTIONS[1], position=7)])


def test_a_template_that_rewrites_earlier_turns_is_refused(spec):
    processor = copy.deepcopy(spec.processor)
    number = "{{ 'one' if messages|length == 1 else 'two' }} "
    processor.chat_template = number + processor.chat_template
    with pytest.raises(
        ValueError, match=r"row 0: the chat template asks .* set chat_template to a file with another template"
    ):
        ConversationCollate(spec._replace(processor=processor))([conversation(QUESTIONS[0])])


def test_a_template_without_answers_is_refused(spec):
    processor = copy.deepcopy(spec.processor)
    processor.chat_template = "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% elif m['role'] == 'user' %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"  # noqa: E501
    with pytest.raises(ValueError, match="row 0: the chat template writes 0 of 1 answers"):
        ConversationCollate(spec._replace(processor=processor))([conversation(QUESTIONS[0])])


def test_an_empty_answer_is_refused(collate):
    with pytest.raises(ValueError, match="row 0: an answer was not recognised"):
        collate([conversation(("is the digit even ?", " "))])


@pytest.mark.parametrize(("limit", "value"), [("KEPT", 2), ("KEPT_TOKENS", 12)])
def test_batches_do_not_depend_on_earlier_ones(spec, monkeypatch, limit, value):
    monkeypatch.setattr(conversations, limit, value)
    collate = ConversationCollate(spec)
    asked = [conversation(QUESTIONS[0], QUESTIONS[2]), conversation(QUESTIONS[1]), conversation(QUESTIONS[0])]
    for batch in ([asked[0]], asked, asked[::-1], [asked[2], asked[2]]):
        torch.testing.assert_close(collate(batch), ConversationCollate(spec)(batch))


def test_the_memory_of_known_conversations_is_bounded_by_their_tokens(spec, monkeypatch):
    monkeypatch.setattr(conversations, "KEPT_TOKENS", 2000)
    collate = ConversationCollate(spec._replace(context_length=2000))
    tracemalloc.start()
    for number in range(25):
        collate([conversation(("which " * (1000 + number), "red"))])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1e5  # all 25 would take six times as much
