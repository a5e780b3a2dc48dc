"""Judges of generated answers."""

import pytest
import torch

from tests.answering import QUESTIONS, batch_of, conversation, generated, overfitted_llava
from tracer_lightning.evaluation import AnswerSuite
from tracer_lightning.evaluation.generated_metrics import GeneratedMetrics
from tracer_lightning.evaluation.judges import RULES, Rule, chooses_option, contains_answer
from tracer_lightning.types import AnswerTexts, Conversations, QuestionSet


@pytest.mark.parametrize(
    ("generated", "is_right"),
    [
        ("C", True),
        ("c", True),
        (" C\n", True),
        ("C.", True),
        ("C. stretcher", True),
        ("Answer: C", True),
        ("The options are A: cat, B: dog. I choose: C. cow", True),
        ("C stretcher", False),
        ("C) stretcher", False),
        ("The answer is C", False),
        ("C: stretcher", False),
        ("D", False),
        ("Cow", False),
        ("", False),
    ],
)
def test_options(generated, is_right):
    assert chooses_option(generated, "C") == is_right


@pytest.mark.parametrize(
    ("generated", "answer", "is_right"),
    [
        ("It is a stretcher.", "stretcher", True),
        ("a  Red\nCar", "red car", True),
        ("red car", "Red car.", True),
        ("cat", "a", True),
        ("a dog", "cat", False),
        ("", "cat", False),
        ("dots ...", ".", True),
        ("dots", ".", False),
    ],
)
def test_containment(generated, answer, is_right):
    assert contains_answer(generated, answer) == is_right


WORDS = ("A.", "B.", "C.", "A. or", "<end>")
ANSWERS = ("A", "B", "C")


def scored(*rows):
    """Scores of rows of (answer's index, generated token, distractor's token)."""
    answers, tokens, distractors = (torch.tensor(column) for column in zip(*rows, strict=True))
    indices = torch.where(answers < 0, -1, 0)
    metrics = GeneratedMetrics(
        RULES["option"], lambda ids, skip_special_tokens: " ".join(WORDS[i] for i in ids if i < 4), ANSWERS
    )
    generated = torch.stack((tokens, torch.full_like(tokens, 4)), 1)
    metrics.update(generated, Conversations({}, torch.tensor([]), indices, answers, distractors[:, None]))
    return metrics.compute()


def test_scores_by_hand():
    scores, details = scored((0, 0, 1), (0, 3, 1), (1, 0, 0), (1, 1, -1), (2, 4, -1), (-1, 0, -1))
    assert scores["n"] == 5
    assert scores["accuracy"] == 3 / 5
    # A: two of two right, and predicted three times; B: one of two, once; C: none of one
    assert scores["macro_f1"] == pytest.approx((2 * 2 / (3 + 2) + 2 * 1 / (1 + 2) + 0) / 3)
    assert scores["distractor_rate"] == 1 / 3
    assert "ece" not in scores
    assert details == {
        "classes": {"n": [2, 2, 1], "correct": [2, 1, 0]},
        "distractors": {"n": 3, "chosen": 1},
    }


@pytest.mark.parametrize(
    ("judge", "text", "answer", "distractor", "expected"),
    [
        ("option", "C. stretcher", "B", "C", True),
        ("option", "Answer: stretcher", "B", "stretcher", True),
        ("option", "C. stretcher", "B", "stretcher", False),
        ("option", "D", "B", "C", False),
        ("contains", "it is a black dog", "cat", "black cow", False),
        ("contains", "it is a Black Cow", "black dog", "black cow", True),
        ("contains", "a black cow", "black cow", "cow", False),  # right
    ],
)
def test_a_distractor_is_judged_as_the_answer_is(judge, text, answer, distractor, expected):
    texts = {0: text, 1: distractor}
    metrics = GeneratedMetrics(RULES[judge], lambda ids, skip_special_tokens: texts[ids[0]], [answer])
    zero = torch.zeros(1, dtype=torch.long)
    metrics.update(zero[:, None], Conversations({}, torch.tensor([]), zero, zero, torch.ones(1, 1).long()))
    assert metrics.compute()[0]["distractor_rate"] == expected


def test_texts_and_answers_are_read_once_and_the_second_answer_that_a_text_gives_ends_the_search():
    """Each wrong text is compared with the answers of the whole set, of which there may be many thousands."""
    read, compared = [], []
    rule = Rule(
        lambda text: read.append(text) or text,
        lambda answer: read.append(answer) or answer,
        lambda text, answer: compared.append(answer) or answer in text,
    )
    answers = [str(number) for number in range(100)]
    metrics = GeneratedMetrics(rule, lambda ids, skip_special_tokens: "5, 7 or 12", answers)
    tokens, indices, labels = torch.zeros(3, 1).long(), torch.tensor([0, 1, 2]), torch.tensor([90, 91, 5])
    metrics.update(tokens, Conversations({}, torch.tensor([]), indices, labels, torch.full((3, 0), -1)))
    assert read == [*answers, *["5, 7 or 12"] * 3]
    assert compared == ["90", "0", "1", "2", "91", "0", "1", "2", "5"]  # it gives 1 and 2, of 12


def test_a_set_without_samples():
    scores, _ = scored((-1, 0, -1))
    assert scores == {"n": 0, "accuracy": None, "macro_f1": None}


@pytest.fixture(scope="module")
def overfitted():
    return overfitted_llava()


def test_a_batch_generates_what_single_questions_do(overfitted):
    rows = [conversation(turn, position=i, seed=s) for i, turn in enumerate(QUESTIONS) for s in range(4)]
    rows += [conversation(QUESTIONS[0], QUESTIONS[1], position=9), conversation(QUESTIONS[2], position=-1)]
    tokens = overfitted.model.generate(batch_of(overfitted, *rows), max_new_tokens=6)
    decode = overfitted.spec.processor.tokenizer.decode
    texts = [decode(ids, skip_special_tokens=True) for ids in tokens.tolist()]
    assert texts[:-1] == [generated(overfitted, row) for row in rows[:-1]]
    assert len(set(texts)) > 2


def test_generation_is_greedy_whatever_the_models_defaults_are(overfitted):
    batch = batch_of(overfitted)
    expected = overfitted.model.generate(batch, max_new_tokens=6)
    defaults = overfitted.model.model.generation_config
    defaults.update(do_sample=True, temperature=9.0, top_k=3, repetition_penalty=5.0)
    try:
        assert torch.equal(overfitted.model.generate(batch, max_new_tokens=6), expected)
    finally:
        defaults.update(do_sample=False, temperature=None, top_k=None, repetition_penalty=None)


SET = QuestionSet("a", "test", "id", "id", "id", answers=1)


def test_the_suite_has_the_judge_and_no_calibration_error(overfitted):
    texts = AnswerTexts(overfitted.spec.processor.tokenizer.decode, lambda eval_set: [QUESTIONS[1][1]])
    suite = AnswerSuite([SET], judge="contains", max_new_tokens=2, texts=texts)
    assert [metric.name for metric in suite.metrics] == ["accuracy", "macro_f1", "distractor_rate"]
    assert suite.metrics == AnswerSuite.declared_metrics({"judge": "contains"})
    assert suite.settings() == {"judge": "contains"}
    suite.start({"student": overfitted.model})
    suite.update(batch_of(overfitted, conversation(QUESTIONS[1], seed=1)), 0)
    assert suite.finish()["student"]["a"] == {"split": "test", "role": "id", "n": 1, "accuracy": 0.0, "macro_f1": 0.0}


def test_exact_match_is_the_default():
    suite = AnswerSuite([SET])
    assert suite.settings() == {"judge": "exact"}
    assert "ece" in [metric.name for metric in suite.metrics]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"judge": "friendly"}, "judge must be one of exact, option, contains, got 'friendly'"),
        ({"judge": "option"}, "judge 'option' needs texts"),
        ({"max_new_tokens": 0}, "max_new_tokens must be >= 1, got 0"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        AnswerSuite([SET], **options)
