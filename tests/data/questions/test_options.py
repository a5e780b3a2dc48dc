"""Options with letters and without."""

import numpy as np
import pytest

from tracer_lightning.data.questions.options import letter_options, list_options

ANIMALS = ("cat", "dog", "cow", "pig")


def lettered(options=ANIMALS, answer="dog", distractor=None, seed=0):
    return letter_options("which ?", options, answer, distractor, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("count", "choice"),
    [(2, "Choose A or B."), (3, "Choose A, B, or C."), (4, "Choose A, B, C, or D.")],
)
def test_lines(count, choice):
    question = lettered(ANIMALS[:count])
    first, *lines, last = question.text.split("\n")
    assert (first, last) == ("which ?", choice)
    assert [line[:3] for line in lines] == ["A. ", "B. ", "C. ", "D. "][:count]
    assert sorted(line[3:] for line in lines) == sorted(ANIMALS[:count])
    assert f"{question.answer}. dog" in lines


def test_the_distractor_becomes_a_letter_if_it_is_an_option():
    question = lettered(distractor="pig")
    assert f"{question.distractor}. pig" in question.text.split("\n")
    assert lettered(distractor="bird").distractor == "bird"


def test_every_letter_is_equally_frequent():
    counts = np.unique([lettered(seed=seed).answer for seed in range(400)], return_counts=True)[1]
    assert len(counts) == 4
    assert counts.min() > 70


def test_every_option_without_a_letter_comes_first_equally_often():
    listed = [list_options("which ?", ANIMALS, "dog", "pig", np.random.default_rng(seed)) for seed in range(400)]
    assert {(question.answer, question.distractor) for question in listed} == {("dog", "pig")}
    assert all(sorted(question.text.split("\n")[1:]) == sorted(ANIMALS) for question in listed)
    counts = np.unique([question.text.split("\n")[1] for question in listed], return_counts=True)[1]
    assert len(counts) == 4
    assert counts.min() > 70
