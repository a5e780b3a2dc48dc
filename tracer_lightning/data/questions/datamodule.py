"""Questions about scikit-learn's digits: styles, kinds of questions, wordings and distractors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch.utils.data import Dataset

from tracer_lightning.data.digits.datamodule import EVALUATION_SEED, MAX_RENDERINGS
from tracer_lightning.data.images.captions import sample_rng
from tracer_lightning.data.questions.base import QuestionsDataModule, unknown_words
from tracer_lightning.data.questions.conversations import Conversation, Question, Turn
from tracer_lightning.data.questions.drawings import BROAD, STYLES, Drawings, draw_styles
from tracer_lightning.data.questions.kinds import KINDS, ask, words
from tracer_lightning.types import IGNORE_INDEX, ConversationSpec, QuestionSet

Tests = Literal["grid", "kinds", "tasks"]
MAX_SAMPLES = 300
"""Maximum number of samples of an evaluation set, drawn with a fixed seed."""
TASKS = ("next_or", "colour_or")
"""Kinds of questions of other tasks that list options."""
OPEN = ("next", "colour", "even", "parity")
"""Kinds of questions of other tasks without options."""
GENERAL = ("digit_or", "digit", "colour_or", "colour", "next_or", "next", "even", "odd", "larger", "parity")
"""Kinds of questions that models are pretrained on, beside captions."""


class QuestionDataset(Dataset[Conversation]):
    """Questions about drawings, drawn anew in each epoch.

    Args:
        drawings: drawings to ask about.
        kinds: relative frequencies of the kinds of questions.
        wording: index of the wording of every question; None to draw it.
        distractor: whether a distractor is among the options; see :func:`tracer_lightning.data.questions.kinds.ask`.
        seed: with epoch and index, it fixes a sample's question.
        name: name of the set, for errors.
    """

    def __init__(
        self,
        drawings: Drawings,
        kinds: Mapping[str, float],
        wording: int | None,
        distractor: bool | None,
        seed: int,
        name: str,
    ) -> None:
        self.drawings, self.wording, self.distractor, self.seed, self.name = drawings, wording, distractor, seed, name
        self.kinds = tuple(kinds)
        weights = np.array(list(kinds.values()), dtype=float)
        self._cumulative = weights.cumsum() / weights.sum()

    def __len__(self) -> int:
        """Number of drawings."""
        return len(self.drawings.digits)

    def question(self, epoch: int, index: int) -> Question:
        """Return the question of a sample."""
        rng = sample_rng(self.seed, epoch, index)
        kind = self.kinds[int(np.searchsorted(self._cumulative, rng.random(), side="right"))]
        digit, ink = int(self.drawings.digits[index]), int(self.drawings.inks[index])
        return ask(kind, digit, ink, rng, self.wording, self.distractor)

    def __getitem__(self, key: tuple[int, int]) -> Conversation:
        """Return the conversation of ``key`` = (epoch, index); index -1 gives padding."""
        epoch, position = key
        index = max(position, 0)
        question = self.question(epoch, index)
        return Conversation(
            torch.from_numpy(self.drawings.pixels[index]),
            (Turn(question.text, question.answer),),
            position,
            f"{self.name}, row {index}",
            distractor=question.distractor,
        )


class QuestionTestSet(QuestionDataset):
    """The same question about each drawing in every evaluation, with its answer as one of several classes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._questions = [super(QuestionTestSet, self).question(0, index) for index in range(len(self))]
        self.answers = sorted({question.answer for question in self._questions})
        """Distinct answers."""

    def question(self, epoch: int, index: int) -> Question:
        """Return the question of a sample, which is the same in every epoch."""
        del epoch
        return self._questions[index]

    def __getitem__(self, key: tuple[int, int]) -> Conversation:
        """Return the conversation of ``key`` = (0, index); index -1 gives padding."""
        conversation = super().__getitem__(key)
        if conversation.position == IGNORE_INDEX:
            return conversation
        return conversation._replace(answer=self.answers.index(conversation.turns[-1].answer))


class _Content(NamedTuple):
    """Content of an evaluation set."""

    styles: tuple[str, ...]
    kinds: Mapping[str, float]
    wording: int | None
    distractor: bool | None


class DigitQuestionsDataModule(QuestionsDataModule):
    """Training questions of some kinds about drawings in some styles, and test sets of other images and questions.

    Splits are by digit, as in :class:`tracer_lightning.data.DigitsDataModule`. Inks, styles and questions of the test
    sets are the same for all seeds.

    With ``tests="grid"``, the test sets have the images trained on (``id``) or those of other styles (``ood``), and
    texts that are the trained question (``id``), its other wordings (``wording``), questions of other tasks with
    options (``task``), with the digit's own name among them (``distractor``), and without options (``open``). Names
    are ``IMAGE/TEXT/KIND``. With ``tests="kinds"``, there is one test set for each kind that is trained. With
    ``tests="tasks"``, for a sequence of tasks, there are the sets ``STYLE/KIND`` of all tasks, and ``general/KIND`` for
    the kinds and styles of pretraining; those of a style and a kind that are trained have role ``id``.

    Args:
        spec: input specification of the model.
        styles: styles of training images, from :data:`tracer_lightning.data.questions.drawings.STYLES`.
        renderings_per_digit: number of drawings of each training digit in each style.
        kinds: kinds of training questions, from :data:`tracer_lightning.data.questions.kinds.KINDS`; in a grid, one.
        wording: index of the wording of training questions; None to draw it for each.
        rendering_seed: seed of the first drawing of each training digit, at least 1.
        tests: ``grid``, ``kinds`` or ``tasks``.
        rare_styles: further styles of training images, in each of which a digit is drawn once; they are not tested.
        kind_weights: relative frequencies of the kinds; None for equal ones.
        task_sets: names ``STYLE/KIND`` of the test sets of all tasks of a sequence; None unless ``tests`` is ``tasks``.
        loading: arguments of :class:`tracer_lightning.data.DataModule`; ``seed`` is that of the questions, too.
    """

    def __init__(
        self,
        spec: ConversationSpec,
        styles: Sequence[str],
        renderings_per_digit: int,
        kinds: Sequence[str],
        wording: int | None,
        rendering_seed: int,
        tests: Tests,
        rare_styles: Sequence[str] = (),
        kind_weights: Sequence[float] | None = None,
        task_sets: Sequence[str] | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        if missing := unknown_words(spec.processor.tokenizer, words()):
            raise ValueError(f"spec: the model's vocabulary lacks {', '.join(missing)}; add them to its words")
        _check_names("styles", styles, STYLES)
        if rare_styles:
            _check_names("rare_styles", rare_styles, [style for style in STYLES if style not in styles])
        _check_names("kinds", kinds, KINDS)
        if not 1 <= renderings_per_digit <= MAX_RENDERINGS:
            raise ValueError(f"renderings_per_digit must be >= 1 and <= {MAX_RENDERINGS}, got {renderings_per_digit}")
        weights = [1.0] * len(kinds) if kind_weights is None else list(kind_weights)
        if len(weights) != len(kinds) or not all(0 < weight < float("inf") for weight in weights):
            raise ValueError(f"kind_weights must be {len(kinds)} numbers > 0, one for each kind, got {weights}")
        if wording is not None and wording < 0:
            raise ValueError(f"wording must be >= 0 or None, got {wording}")
        if rendering_seed <= EVALUATION_SEED:
            raise ValueError(f"rendering_seed must be > {EVALUATION_SEED}, that of the test sets, got {rendering_seed}")
        if tests not in get_args(Tests):
            raise ValueError(f"tests must be one of {', '.join(get_args(Tests))}, got {tests!r}")
        if self.evaluates and tests == "grid" and len(kinds) > 1:
            raise ValueError(f"kinds must be a single one where tests is 'grid', got {', '.join(kinds)}")
        if (tests == "tasks") != (task_sets is not None):
            raise ValueError(f"task_sets must be given where tests is 'tasks', and only there; got {task_sets}")
        self.task_sets = () if task_sets is None else tuple(_check_task_set(name) for name in task_sets)
        """Styles and kinds of the test sets of a sequence of tasks."""
        self.styles, self.wording, self.rendering_seed = tuple(styles), wording, rendering_seed
        self.kinds = dict(zip(kinds, weights, strict=True))
        """Kinds of training questions with their relative frequencies."""
        self.renderings = {**dict.fromkeys(styles, renderings_per_digit), **dict.fromkeys(rare_styles, 1)}
        """Number of drawings of each training digit by style."""
        if self.evaluates:
            self._set_eval_sets(tests)

    def _set_eval_sets(self, tests: Tests) -> None:
        """Draw the questions of the validation set and of the test sets."""
        trained = QuestionSet("trained", "val", "id", "id", "id", answers=0)
        contents = {trained: _Content(self.styles, self.kinds, self.wording, None)}
        sets = {"grid": self._grid, "kinds": self._sets_by_kind, "tasks": self._sets_of_tasks}
        contents |= dict(sets[tests]())
        self._test_sets = {
            eval_set.name: QuestionTestSet(
                _eval_drawings(eval_set.split, content.styles),
                content.kinds,
                content.wording,
                content.distractor,
                EVALUATION_SEED,
                f"set {eval_set.name}",
            )
            for eval_set, content in contents.items()
        }
        self.val_set, *tested = (
            eval_set._replace(
                answers=len(self._test_sets[eval_set.name].answers), samples=len(self._test_sets[eval_set.name])
            )
            for eval_set in contents
        )
        self.eval_sets = tuple(tested)

    def _sets_by_kind(self) -> Iterator[tuple[QuestionSet, _Content]]:
        for kind in self.kinds:
            yield QuestionSet(kind, "test", "id", "id", "id", answers=0), _Content(self.styles, {kind: 1.0}, None, None)

    def _sets_of_tasks(self) -> Iterator[tuple[QuestionSet, _Content]]:
        for style, kind in self.task_sets:
            image, text = "id" if style in self.styles else "ood", "id" if kind in self.kinds else "task"
            role = "id" if image == text == "id" else "other"
            eval_set = QuestionSet(f"{style}/{kind}", "test", role, image, text, answers=0)
            yield eval_set, _Content((style,), {kind: 1.0}, 0, None)
        for kind in GENERAL:
            eval_set = QuestionSet(f"general/{kind}", "test", "other", "ood", "general", answers=0)
            yield eval_set, _Content(tuple(BROAD), {kind: 1.0}, None, None)

    def _grid(self) -> Iterator[tuple[QuestionSet, _Content]]:
        """Test sets of the grid with their content."""
        (trained,) = self.kinds
        wordings = len(KINDS[trained].wordings)
        others = [] if self.wording is None else [number for number in range(wordings) if number != self.wording]
        images = {"id": self.styles, "ood": tuple(style for style in BROAD if style not in self.styles)}
        for image, styles in images.items():
            if not styles:
                continue
            role = "id" if image == "id" else "ood"
            cells = [
                (role, "id", trained, self.wording, None, trained),
                *(("ood", "wording", trained, number, None, f"{trained}-{number}") for number in others),
                *(("other", "task", kind, 0, False, kind) for kind in TASKS if kind != trained),
                *(("other", "distractor", kind, 0, True, kind) for kind in TASKS if kind != trained),
                *(("other", "open", kind, 0, None, kind) for kind in OPEN if kind != trained),
            ]
            for set_role, text, kind, wording, distractor, name in cells:
                eval_set = QuestionSet(f"{image}/{text}/{name}", "test", set_role, image, text, answers=0)
                yield eval_set, _Content(styles, {kind: 1.0}, wording, distractor)

    # -- contract ---------------------------------------------------------------------------------------------------

    def train_dataset(self) -> QuestionDataset:
        """Questions of the trained kinds about the drawings of the training split."""
        drawings = draw_styles("train", self.renderings, self.rendering_seed)
        return QuestionDataset(drawings, self.kinds, self.wording, None, self.seed, "training set")

    def eval_dataset(self, eval_set: QuestionSet) -> QuestionTestSet:
        """Questions of one evaluation set."""
        return self._test_sets[eval_set.name]


@cache
def _eval_drawings(split: str, styles: tuple[str, ...]) -> Drawings:
    """Drawings of an evaluation set, once per process."""
    drawings = draw_styles(split, dict.fromkeys(styles, 1))
    order = np.random.default_rng(EVALUATION_SEED).permutation(len(drawings.digits))
    return drawings.subset(order[:MAX_SAMPLES])


def _check_names(argument: str, names: Sequence[str], known: Collection[str]) -> None:
    if isinstance(names, str) or len(set(names)) < len(names):
        raise ValueError(f"{argument} must be a list of different names, got {names!r}")
    unknown = sorted(set(names) - set(known))
    if unknown or not names:
        raise ValueError(f"{argument} must name some of {', '.join(known)}; got {', '.join(unknown) or 'none'}")


def _check_task_set(name: str) -> tuple[str, str]:
    """Style and kind of a test set's name ``STYLE/KIND``."""
    style, _, kind = name.partition("/")
    if style not in STYLES or kind not in KINDS:
        raise ValueError(
            f"task_sets must be names STYLE/KIND of the styles {', '.join(STYLES)} and the kinds {', '.join(KINDS)}; "
            f"got {name}"
        )
    return style, kind
