"""Conversations about the images of a file, by (epoch, index)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tracer_lightning.data.images.captions import sample_rng
from tracer_lightning.data.images.decoding import UnreadableImageError
from tracer_lightning.data.images.samples import REPLACEMENTS
from tracer_lightning.data.questions.conversations import Conversation, Question, Turn
from tracer_lightning.data.questions.options import letter_options, list_options
from tracer_lightning.data.questions.rows import QuestionRows
from tracer_lightning.types import IGNORE_INDEX

BLANK_PIXELS = 32
"""Height and width of the image of padding."""
EVALUATION_SEED = 0
"""Seed of the order of options in evaluation, which is the same for all runs."""


class FileQuestions(Dataset[Conversation]):
    """Training conversations about the images of a file.

    The next readable image takes the place of one that can't be read, as in
    :class:`tracer_lightning.data.images.samples.SampleBuilder`.

    Args:
        rows: rows of the file.
        letters: whether options have letters.
        seed: with epoch and index, it fixes the order of the options.
        prefix: beginning of the locations of unreadable images.
    """

    def __init__(self, rows: QuestionRows, letters: bool, seed: int, prefix: str = "") -> None:
        self.rows, self.letters, self.seed, self.prefix = rows, letters, seed, prefix

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> Conversation:
        """Return the conversation of ``key`` = (epoch, index).

        Raises:
            ValueError: too many images in a row can't be read.
        """
        epoch, index = key
        unreadable: tuple[str, ...] = ()
        for attempt in range(REPLACEMENTS):
            position = (index + attempt) % len(self)
            try:
                image = self.rows.read_image(self.rows[position])
            except UnreadableImageError as error:
                unreadable += (self._location(position, error),)
                continue
            return self._conversation(epoch, position, image)._replace(unreadable=unreadable)
        raise ValueError(f"{len(unreadable)} images in a row can't be read, the first {unreadable[0]}")

    def questions(self) -> Iterator[Question]:
        """Iterate over the last questions of all rows, as in the first epoch."""
        return (self._turns(0, index)[1] for index in range(len(self)))

    def words(self) -> set[str]:
        """Words of all system messages, questions, answers and distractors, split at blanks."""
        words: set[str] = set()
        for index in range(len(self)):
            turns, question = self._turns(0, index)
            further = (question.distractor, self.rows[index].system)
            for text in (*(text for turn in turns for text in turn), *filter(None, further)):
                words.update(text.split())
        return words

    def _turns(self, epoch: int, index: int) -> tuple[tuple[Turn, ...], Question]:
        """Turns of a row with its options, and the last one as a question."""
        row = self.rows[index]
        *earlier, (text, answer) = row.turns
        question = Question(text, answer, row.distractor)
        if row.options:
            write = letter_options if self.letters else list_options
            question = write(text, row.options, answer, row.distractor, sample_rng(self.seed, epoch, index))
        return (*earlier, Turn(question.text, question.answer)), question

    def _conversation(self, epoch: int, index: int, image: Tensor) -> Conversation:
        turns, question = self._turns(epoch, index)
        row = self.rows[index]
        return Conversation(image, turns, index, row.origin, distractor=question.distractor, system=row.system)

    def _location(self, index: int, error: UnreadableImageError) -> str:
        row = self.rows[index]
        return f"{self.prefix}{row.origin}: {self.rows.folder / row.image}: {error}"


class FileTestQuestions(FileQuestions):
    """Conversations of an evaluation set, in which only the last answer counts, as one of several classes.

    Args:
        rows: rows of the file.
        letters: whether options have letters; with them or without, their order is random and fixed.
    """

    def __init__(self, rows: QuestionRows, letters: bool) -> None:
        super().__init__(rows, letters, EVALUATION_SEED)
        self.answers = sorted({question.answer for question in self.questions()})
        """Distinct answers."""
        self._class_of = {answer: number for number, answer in enumerate(self.answers)}

    def __getitem__(self, key: tuple[int, int]) -> Conversation:
        """Return the conversation of ``key`` = (0, index); index -1, or an unreadable image, gives padding."""
        _, index = key
        unreadable: tuple[str, ...] = ()
        if index != IGNORE_INDEX:
            try:
                conversation = self._conversation(0, index, self.rows.read_image(self.rows[index]))
                return conversation._replace(answer=self._class_of[conversation.turns[-1].answer])
            except UnreadableImageError as error:
                unreadable = (self._location(index, error),)
        blank = torch.zeros(3, BLANK_PIXELS, BLANK_PIXELS, dtype=torch.uint8)
        padding = self._conversation(0, max(index, 0), blank)
        return padding._replace(position=IGNORE_INDEX, distractor=None, unreadable=unreadable)
