"""Targets of the chat templates of known models, and of templates that are hard to tell answers in."""

import pytest
import torch

from tests.chat_models import FAMILIES, gemma3, llava, llava_onevision, paligemma, qwen, smolvlm
from tracer_lightning.data.questions.conversations import Conversation, ConversationCollate, Turn, messages
from tracer_lightning.data.questions.transcripts import ANSWER, find_scaffold, find_tokens
from tracer_lightning.types import ConversationSpec

IMAGE = torch.zeros(3, 40, 60, dtype=torch.uint8)
FIRST, SECOND = Turn("which animal is this?", "dark cat"), Turn("what colour?", " red\n")
ENDS = {
    llava: "</s>",
    llava_onevision: "<|im_end|>",
    qwen: "<|im_end|>",
    smolvlm: "<end_of_utterance>",
    gemma3: "<end_of_turn>",
    paligemma: "<eos>",
}


def collate_of(family):
    processor, ends = family()
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "right"
    tokens = dict.fromkeys([tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(ends or [])])
    return ConversationCollate(ConversationSpec(processor, 4096, tuple(tokens)))


def trained(collate, *turns, answer=-1):
    """Tokens of each trained answer, and the batch."""
    batch = collate([Conversation(IMAGE, turns, 0, "row 0", answer), Conversation(IMAGE, (SECOND,), 1, "row 1")])
    answers, before = [], False
    for token in batch.targets[0].tolist():
        if token == -1:
            before = False
            continue
        if not before:
            answers.append([])
        answers[-1].append(token)
        before = True
    return answers, batch


@pytest.mark.parametrize("family", FAMILIES)
def test_each_answer_and_its_end_are_trained_once(family):
    collate = collate_of(family)
    tokenizer = collate.processor.tokenizer
    end = tokenizer.convert_tokens_to_ids(ENDS[family])
    for turns in ((FIRST,), (FIRST, SECOND)):
        answers, _ = trained(collate, *turns)
        assert [tokenizer.decode(tokens[:-1]).strip() for tokens in answers] == ["dark cat", "red"][: len(turns)]
        assert all(tokens.count(end) == 1 and tokens[-1] == end for tokens in answers)
    answers, batch = trained(collate, FIRST, SECOND, answer=0)
    assert [tokenizer.decode(tokens[:-1]).strip() for tokens in answers] == ["red"]
    assert (batch.targets[1] != -1).sum() >= 2  # the shorter conversation in the same batch


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_follows_what_the_library_asks_with(family):
    """The tokens before the first answer are those of the library's own generation."""
    collate = collate_of(family)
    processor = collate.processor
    batch = trained(collate, FIRST, SECOND)[1]
    text = processor.apply_chat_template([messages([FIRST], answered=False)], add_generation_prompt=True)[0]
    double = processor.tokenizer.bos_token is not None and text.startswith(processor.tokenizer.bos_token)
    text = text.removesuffix("\n") if family is paligemma else text  # its processor adds a line feed to questions
    expected = processor(images=[[IMAGE]], text=[text], add_special_tokens=not double)["input_ids"][0]
    start = int((batch.targets[0] != -1).nonzero()[0]) + 1
    assert batch.inputs["input_ids"][0, :start].tolist() == list(expected)


def test_answers_of_paligemma_are_hidden_from_earlier_tokens():
    _, batch = trained(collate_of(paligemma), FIRST, SECOND)
    start = int((batch.targets[0] != -1).nonzero()[0]) + 1
    marks = batch.inputs["token_type_ids"][0].tolist()
    assert marks == [0] * start + [1] * (len(marks) - start)
    assert "labels" not in batch.inputs


def test_a_distractor_begins_where_the_answer_does():
    collate = collate_of(llava)
    batch = collate([Conversation(IMAGE, (FIRST,), 0, "row 0", 0, "cat")])
    assert collate.processor.tokenizer.convert_ids_to_tokens(batch.distractors[0].tolist()) == ["▁c", "at"]


@pytest.mark.parametrize("family", [llava, qwen])
def test_an_end_within_an_answer_is_refused(family):
    with pytest.raises(ValueError, match=r"row 0: an answer contains .*, which ends answers; remove it"):
        trained(collate_of(family), Turn("which animal?", f"cat{ENDS[family]} or dog"))


def test_a_second_conversation_does_not_change_the_first():
    collate = collate_of(llava)
    assert trained(collate, FIRST)[0] == trained(collate, FIRST, SECOND)[0][:1]


# -- texts ----------------------------------------------------------------------------------------------------------


def written(conversation, prompts, *answers, ends=("<e>", "<stop>")):
    """Text between bars for each answer, and what precedes it."""
    transcript = find_scaffold(conversation, prompts).fill_in(answers, ends)
    text = transcript.text
    for start, end in reversed(transcript.answers):
        text = f"{text[:start]}|{text[start:end]}|{text[end:]}"
    return text


@pytest.mark.parametrize(
    ("conversation", "prompts", "expected"),
    [
        (f"Q: A: {ANSWER} ", ["Q: A:"], "Q: A:| x<e>|"),
        (f"Q: A: {ANSWER}", ["Q: A: "], "Q: A: |x<e>|"),
        (f"QA{ANSWER} <stop>\n", ["QA"], "QA|x <stop>|\n"),
        (f"Q\nA {ANSWER}<stop>", ["Q\nA\n"], "Q\nA\n|x<stop>|"),
        (f"QA{ANSWER}[/A]<e><e>", ["QA"], "QA|x[/A]<e>|<e>"),
        (f"QA{ANSWER}\n", ["QA"], "QA|x<e>|\n"),
    ],
)
def test_texts_by_hand(conversation, prompts, expected):
    assert written(conversation, prompts, " x ") == expected


def test_two_turns_by_hand():
    first, second = f"Q A: {ANSWER} ", f"Q A: {ANSWER} Q A: {ANSWER} "
    assert written(second, ["Q A:", f"{first}Q A:"], "x", "y") == "Q A:| x<e>|Q A:| y<e>|"
    ended = f"Q A:{ANSWER}<e>Q A:{ANSWER}<e>"
    assert written(ended, ["Q A:", f"Q A:{ANSWER}<e>Q A:"], "x", "y") == "Q A:|x<e>|Q A:|y<e>|"


@pytest.mark.parametrize(
    ("conversation", "prompts", "message"),
    [
        ("Q A:", ["Q A:"], "writes 0 of 1 answers"),
        (f"Q A:{ANSWER}{ANSWER}", ["Q A:"], "writes 2 of 1 answers"),
        (f"Q A:{ANSWER}", ["Q think:"], "does not begin"),
        (f"2 Q A:{ANSWER}Q A:{ANSWER}", ["1 Q A:", f"2 Q A:{ANSWER}Q A:"], "does not begin"),
        (f"Q A:{ANSWER}Q A:{ANSWER}", ["Q A:", f"Q A:{ANSWER}, Q A:"], "does not begin"),
    ],
)
def test_templates_in_which_answers_cannot_be_told_are_refused(conversation, prompts, message):
    with pytest.raises(ValueError, match=message):
        find_scaffold(conversation, prompts)


def test_tokens_of_a_part_of_a_text():
    text = "a: bc d<e>\n"
    offsets = [(0, 0), (0, 2), (2, 5), (6, 7), (7, 10), (10, 11), (0, 0)]  # as if blanks were left out of the fourth
    assert find_tokens(text, (2, 10), offsets) == (2, 5)
    assert find_tokens(text, (3, 10), offsets) == (2, 5)  # a token that begins with the blank before the part
    with pytest.raises(ValueError, match="begins within a token"):
        find_tokens(text, (1, 10), offsets)
