"""Evaluation of answers: exact matches, by one forward pass and by generation."""

import pytest
import torch

from tests.answering import QUESTIONS, batch_of, conversation, generated, overfitted_llava, tiny_llava
from tracer_lightning.evaluation import AnswerSuite
from tracer_lightning.evaluation.answer_metrics import AnswerMetrics
from tracer_lightning.evaluation.distractors import Pair, begins_with
from tracer_lightning.types import AnswerLogits, Conversations, QuestionSet

A, B, END, OTHER = 0, 1, 2, 3


def scored(*rows, distractors=None):
    """Scores of rows of (answer's index, true tokens, predicted tokens, confidence of each)."""
    logits, targets, sample = [], [], []
    for number, (_, true, predicted, confidence) in enumerate(rows):
        for target, prediction in zip(true, predicted, strict=True):
            others = torch.full((4,), (1 - confidence) / 3)
            others[prediction] = confidence
            logits.append(others.log())
            targets.append(target)
            sample.append(number)
    answers = AnswerLogits(torch.stack(logits), torch.tensor(targets), torch.tensor(sample), torch.tensor(0.0))
    classes = torch.tensor([row[0] for row in rows])
    distractors = torch.tensor(distractors or [-1] * len(rows))[:, None]
    metrics = AnswerMetrics(2)
    metrics.update(answers, Conversations({}, torch.tensor([]), classes, classes, distractors))
    return metrics.compute()


ROWS = (
    (0, (A, END), (A, END), 0.9),
    (0, (A, END), (B, END), 0.9),  # B instead of A
    (1, (B, END), (B, END), 0.9),
    (1, (B, END), (OTHER, END), 0.6),  # no answer of the set
    (1, (B, END), (B, A), 0.6),  # B, but it goes on
)


def test_scores_by_hand():
    scores, details = scored(*ROWS)
    assert scores["n"] == 5
    assert scores["accuracy"] == 2 / 5
    # of the first answer one is right, of two, and predicted once; of the second one of three, predicted twice
    assert scores["macro_f1"] == pytest.approx((2 * 1 / (1 + 2) + 2 * 1 / (2 + 3)) / 2)
    # three of confidence 0.81, two of them right, and two of 0.36, both wrong
    assert scores["ece"] == pytest.approx((abs(2 - 3 * 0.81) + 2 * 0.36) / 5, abs=1e-6)
    assert details["classes"] == {"n": [2, 3], "correct": [1, 1]}
    assert "distractor_rate" not in scores


def test_chosen_distractors():
    scores, details = scored(*ROWS, distractors=[B, B, -1, A, A])
    assert scores["distractor_rate"] == 1 / 4
    assert details["distractors"] == {"n": 4, "chosen": 1}


def greedy(tokens, length):
    """The tokens that a model gives, and then the end."""
    return [*tokens, *[END] * (length - len(tokens))]


@pytest.mark.parametrize(
    ("written", "answer", "distractor", "expected"),
    [
        ((A, B), (A, OTHER, END), (A, B), True),  # black cow, black dog
        ((A, OTHER), (A, OTHER, END), (A, B), False),
        ((B, OTHER), (A, END), (B, A), None),  # black dog, cat; black cow needs the predictions after black
        ((A, A), (A, OTHER, END), (A, B), False),
        ((A, A, B), (A, OTHER, END), (A, A, B), None),
        ((A,), (A, B, END), (A, END), True),  # black, black dog
        ((A, OTHER), (A, B, END), (A, END), False),
    ],
)
def test_what_one_pass_tells_of_a_distractor(written, answer, distractor, expected):
    assert begins_with(distractor, map(Pair, answer, greedy(written, len(answer)))) is expected


def test_padding_is_not_counted():
    backbone = tiny_llava()
    suite = AnswerSuite([QuestionSet("a", "test", "id", "id", "id", answers=1)])
    suite.start({"student": backbone.model})
    suite.update(batch_of(backbone, conversation(QUESTIONS[0]), conversation(QUESTIONS[1], position=-1, answer=-1)), 0)
    assert suite.finish()["student"]["a"]["n"] == 1


@pytest.fixture(scope="module")
def overfitted():
    return overfitted_llava()


def test_one_forward_pass_equals_generation_and_exact_match(overfitted):
    questions = [*QUESTIONS, ("is the digit even ?", "no"), ("describe the picture .", "red four odd")]
    rows = [conversation(turn, position=i, seed=s) for i, turn in enumerate(questions) for s in range(6)]
    expected = [generated(overfitted, row) == row.turns[0].answer for row in rows]
    assert 0 < sum(expected) < len(expected)
    for row, is_right in zip(rows, expected, strict=True):
        suite = AnswerSuite([QuestionSet("a", "test", "id", "id", "id", answers=1)])
        suite.start({"student": overfitted.model})
        suite.update(batch_of(overfitted, row), 0)
        assert suite.finish()["student"]["a"]["accuracy"] == is_right


WRONG = ("red four odd", "red", "blue three", "no", "yes yes", "three odd", "red three odd three", "blue blue")
"""Some of them are given to some of the questions, or are the beginnings of what is."""


def test_a_distractor_counts_where_greedy_generation_begins_with_it(overfitted):
    rows, expected = [], []
    for question, right in QUESTIONS:
        text = generated(overfitted, conversation((question, right)))
        for answer in (right, "seven"):
            for wrong in sorted({*WRONG, right, right.split()[0]} - {answer}):
                rows.append(conversation((question, answer), distractor=wrong))
                is_beginning = f"{answer} ".startswith(f"{wrong} ")
                expected.append(text == wrong if is_beginning else f"{text} ".startswith(f"{wrong} "))
    assert 0 < sum(expected) < len(expected)
    assert rate(overfitted, *rows) == sum(expected) / len(expected)
    for row, is_distracted in zip(rows[::3], expected[::3], strict=True):
        assert rate(overfitted, row) == is_distracted


def rate(backbone, *rows):
    """The distractor rate of a batch, in one evaluation."""
    suite = AnswerSuite([QuestionSet("a", "test", "id", "id", "id", answers=1)])
    suite.start({"student": backbone.model})
    suite.update(batch_of(backbone, *rows), 0)
    return suite.finish()["student"]["a"]["distractor_rate"]


SETS = [
    QuestionSet("id/id/a", "test", "id", "id", "id", answers=1),
    QuestionSet("id/task/a", "test", "other", "id", "task", answers=1),
    QuestionSet("id/task/b", "test", "other", "id", "task", answers=1),
    QuestionSet("ood/id/a", "test", "ood", "ood", "id", answers=1),
]


def test_cells_of_the_grid_are_averaged(overfitted):
    suite = AnswerSuite(SETS, averages={"mine": ["id/id/a", "ood/id/a"]})
    suite.start({"student": overfitted.model})
    for number, turn in enumerate([*QUESTIONS, ("is the digit even ?", "no")]):
        suite.update(batch_of(overfitted, conversation(turn, seed=number)), number)
    scores = suite.finish()["student"]
    assert scores["image_id/text_task"]["sets"] == ["id/task/a", "id/task/b"]
    assert scores["image_id/text_task"]["accuracy"] == sum(scores[f"id/task/{k}"]["accuracy"] for k in "ab") / 2
    assert scores["avg_other"]["sets"] == ["id/task/a", "id/task/b"]
    assert scores["avg_ood"]["sets"] == scores["image_ood/text_id"]["sets"] == ["ood/id/a"]
    assert "mine" in scores


def test_the_grid_is_a_table():
    suite = AnswerSuite(SETS)
    before = {cell: {"accuracy": 0.5} for cell in ("image_id/text_id", "image_id/text_task", "image_ood/text_id")}
    after = {**before, "image_id/text_task": {"accuracy": 0.25}}
    (table,) = suite.tables({"zero_shot": before, "student": after, "teacher": None})
    columns = [list(column.cells) for column in table.columns]
    assert [column.header for column in table.columns] == ["accuracy", "model", "ID text", "task"]
    assert columns[1] == ["zero-shot", "student"] * 2
    assert columns[2] == ["50.0", "50.0 (+0.0)"] * 2
    assert columns[3] == ["50.0", "25.0 (-25.0)", "–", "–"]
    assert not AnswerSuite(SETS[:1]).tables({"student": after})
