"""Questions about the user's own images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from tracer_lightning.data.images.image_datamodule import ImageDataModule, auxiliary_prefix
from tracer_lightning.data.questions.base import QuestionsDataModule, unknown_words
from tracer_lightning.data.questions.file_questions import FileQuestions, FileTestQuestions
from tracer_lightning.data.questions.layouts import Layout, check_columns
from tracer_lightning.data.questions.rows import QuestionRows, read_rows
from tracer_lightning.types import Conversations, ConversationSpec, QuestionSet

Role = Literal["id", "ood", "other"]
ImageKind = Literal["id", "ood"]
TextKind = Literal["id", "wording", "task", "distractor", "open"]
LOCATION = ("file", "folder")
"""Keys that locate the rows of a set."""
CELL: Mapping[str, Any] = {"role": Role, "image": ImageKind, "text": TextKind}
"""Values of the keys that place a test set in the grid of images and texts."""
MAX_WORDS = 10
"""Maximum number of unknown words in a message."""
Entry = Mapping[str, str | None]
"""Location of a set, and perhaps its place in the grid."""


class VqaDataModule(QuestionsDataModule, ImageDataModule):
    """Data module of questions in files, each with a path of an image.

    Without a validation file, some training images are held out with their questions. Without test sets, the
    validation set is tested.

    Args:
        spec: input specification of the model.
        root: folder that files and folders are relative to.
        train: ``file`` (``.jsonl``, ``.json`` or ``.csv``) and ``folder`` that the paths of its images are relative to
            (None for that of the file).
        val: the same of the validation set; None, or file None, to hold out training images.
        tests: the same of the test sets by name, with ``role`` (``id``, ``ood`` or ``other``; default ``id``), and
            perhaps ``text`` (``id``, ``wording``, ``task``, ``distractor`` or ``open``; default ``task`` for the role
            ``other``, else ``id``) and ``image`` (``id`` or ``ood``; default ``ood`` for the role ``ood`` with the
            trained question, else ``id``); None leaves a set out.
        held_out: ``fraction`` of the images to validate on where there is no validation file, and the ``seed`` of
            their choice, which is independent of the run's; fraction 0 monitors the first test set.
        columns: keys of all files (:data:`tracer_lightning.data.questions.layouts.Column`); None to find those of each
            file.
        letters: whether options have letters, one of which is the answer.
        loading: arguments of :class:`ImageDataModule`.
    """

    validation_remedy = "name test sets in data.tests and, with data.held_out.fraction=0, a validation set in data.val"

    def __init__(
        self,
        spec: ConversationSpec,
        root: str,
        train: Entry,
        val: Entry | None,
        tests: Mapping[str, Entry | None],
        held_out: Mapping[str, float],
        columns: Layout | None,
        letters: bool,
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        self.root, self.letters = Path(root), letters
        self.columns = None if columns is None else check_columns(columns)
        self._locations = {"train": self._location("train", train)}
        if val is not None and any(val.values()):
            self._locations["val"] = self._location("val", val)
        self._fraction, self._split_seed = held_out["fraction"], int(held_out["seed"])
        if not 0 <= self._fraction < 1:
            raise ValueError(f"held_out.fraction must be >= 0 and < 1, got {self._fraction}")
        self._datasets: dict[QuestionSet, FileTestQuestions] = {}
        if self.evaluates:
            self._set_eval_sets({name: entry for name, entry in tests.items() if entry is not None})

    def _location(self, key: str, entry: Entry, further_keys: Mapping[str, Any] | None = None) -> tuple[Path, Path]:
        """File and folder of a set; raise ValueError for unknown keys."""
        keys = {*LOCATION, *(further_keys or ())}
        if unknown := sorted(set(entry) - keys):
            raise ValueError(f"{key} must have keys among {', '.join(sorted(keys))}; got {', '.join(unknown)}")
        name, folder = entry.get("file"), entry.get("folder")
        if not name:
            raise ValueError(f"{key}.file must be the path of a file of questions, got {name!r}")
        file = self.root / Path(name).expanduser()
        return file, file.parent if folder is None else self.root / Path(folder).expanduser()

    def _set_eval_sets(self, tests: Mapping[str, Entry]) -> None:
        for name, entry in tests.items():
            location = self._location(f"tests.{name}", entry, CELL)
            role, image, text = _place(f"tests.{name}", entry)
            eval_set = QuestionSet(name, "test", role, image, text, answers=0)
            self.eval_sets = (*self.eval_sets, self._add(eval_set, location))
        if not tests:
            if "val" not in self._locations and self._fraction == 0:
                raise ValueError("tests must name a test set, since val is None and held_out.fraction is 0; got none")
            self.eval_sets = (self.val_set,)

    def _add(self, eval_set: QuestionSet, rows: tuple[Path, Path] | QuestionRows) -> QuestionSet:
        """Read the rows of an evaluation set; returns the set with the number of its samples and answers."""
        rows = rows if isinstance(rows, QuestionRows) else self._read(*rows)
        dataset = FileTestQuestions(rows, self.letters)
        self._check_words(dataset)
        eval_set = eval_set._replace(answers=len(dataset.answers), samples=len(dataset))
        self._datasets[eval_set] = dataset
        return eval_set

    def _read(self, file: Path, folder: Path) -> QuestionRows:
        return read_rows(file, folder, self.columns, lists_options=self.letters)

    def _check_words(self, dataset: FileQuestions) -> None:
        """Raise ValueError where the model's tokenizer does not know a word."""
        tokenizer = self.spec.processor.tokenizer
        if tokenizer.unk_token_id is None:
            return
        if words := unknown_words(tokenizer, dataset.words()):
            examples = ", ".join(map(repr, words[:MAX_WORDS]))
            more = f" and {len(words) - MAX_WORDS:,} more" if len(words) > MAX_WORDS else ""
            raise ValueError(
                f"{dataset.rows.file}: the model's vocabulary lacks {examples}{more}; use words that it has, or a "
                "model that knows these"
            )

    @cached_property
    def _training(self) -> tuple[QuestionRows, QuestionRows | None]:
        """Training rows, and those held out for validation, if any."""
        rows = self._read(*self._locations["train"])
        self._check_words(FileQuestions(rows, self.letters, self.seed))
        if "val" in self._locations or self._fraction == 0:
            return rows, None
        return rows.hold_out(self._fraction, self._split_seed)

    @cached_property
    def val_set(self) -> QuestionSet:
        """The validation file, held-out images or, where there are neither, the first test set."""
        rows = self._locations["val"] if "val" in self._locations else self._training[1]
        if rows is None:
            first: QuestionSet = self.eval_sets[0]
            return first
        file = self._locations.get("val", self._locations["train"])[0]
        return self._add(QuestionSet(file.stem, "val", "id", "id", "id", answers=0), rows)

    def about_validation(self) -> str:
        """Describe how many rows are held out and what is tested; empty where there are files for both."""
        train, held_out = self._training
        tested = "" if self.val_set not in self.eval_sets else f"{self.val_set.name} is both monitored and tested"
        if held_out is None:
            return tested
        total = len(train) + len(held_out)
        verb = "is" if len(held_out) == 1 else "are"
        line = (
            f"{len(held_out):,} of {total:,} rows in {train.file} ({len(held_out) / total:.1%}) {verb} held out of "
            "training for validation, with their images"
        )
        return f"{line}; {tested}" if tested else line

    # -- contract ---------------------------------------------------------------------------------------------------

    def train_dataset(self) -> FileQuestions:
        """Questions of the training file."""
        return FileQuestions(self._training[0], self.letters, self.seed)

    def auxiliary_dataset(self, name: str) -> FileQuestions:
        """Questions of the training file of an auxiliary set."""
        module: VqaDataModule = self._auxiliary[name]
        module._unreadable.training_name = name
        return FileQuestions(module._training[0], module.letters, module.seed, auxiliary_prefix(name))

    def eval_dataset(self, eval_set: QuestionSet) -> FileTestQuestions:
        """Questions of one evaluation set."""
        return self._datasets[eval_set]

    def set_size(self, eval_set: QuestionSet | None) -> int:
        """Number of rows of an evaluation set or, for None, of the training set."""
        return len(self._training[0] if eval_set is None else self._datasets[eval_set])

    def on_after_batch_transfer(self, batch: Conversations, dataloader_idx: int) -> Conversations:
        """Count unreadable images."""
        self.count_unreadable(batch.unreadable, batch.indices, dataloader_idx)
        return batch


def _place(key: str, entry: Entry) -> tuple[str, str, str]:
    """Role, image and text of a test set; raise ValueError for unknown ones."""
    for field, kinds in CELL.items():
        if entry.get(field) is not None and entry[field] not in get_args(kinds):
            raise ValueError(f"{key}.{field} must be one of {', '.join(get_args(kinds))}, got {entry[field]!r}")
    role = entry.get("role") or "id"
    text = entry.get("text") or ("task" if role == "other" else "id")
    image = entry.get("image") or ("ood" if role == "ood" and text == "id" else "id")
    return role, image, text
