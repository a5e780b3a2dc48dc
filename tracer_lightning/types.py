"""The values that pass between the subpackages.

Shape letters in this module, unless a field says otherwise: A anchor texts, B batch, C classes, D width of the shared
embedding, H and W image height and width, L text length in tokens, P caption templates, U distinct texts.

The values are named tuples: immutable, moved between devices by Lightning, and seen as containers of tensors by
``torch.utils._pytree`` (so that sharded training can hook the gradients of a model's output).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

IGNORE_INDEX = -1
"""Label, and index, of samples that no loss and no metric counts: padding, and samples without a class."""


class Features(Protocol):
    """Outputs of a model for the global batch: a named tuple whose fields losses read."""

    def detached(self) -> Any:
        """The same features without gradients."""

    def logged(self) -> Mapping[str, Tensor]:
        """Scalars to log at each step as ``train/<name>``."""


class Batch(NamedTuple):
    """One batch of captioned images, or of arrays of another modality."""

    images: Tensor
    """(B, 3, H, W) images, uint8 as loaded and normalised on the device; or standardized arrays, series (B, channels,
    length) or maps (B, channels, H, W)."""
    texts: Tensor
    """(B, L) token ids, or (U, L) where ``text_of`` says whose they are; (B, 0) where none are needed (evaluation)."""
    labels: Tensor
    """(B,) class indices; -1 marks padding, which no metric counts."""
    indices: Tensor
    """(B,) position of the sample in its data set; -1 marks padding."""
    unreadable: tuple[str, ...] = ()
    """Locations of unreadable images, each with the reason; others replace them in training, padding in evaluation."""
    text_of: Tensor | None = None
    """(B,) the row of ``texts`` that is each image's, where captions repeat; None where row and image agree."""
    targets: Tensor | None = None
    """(B, ...) values to predict, NaN where they are unknown; None where samples have classes instead."""


class ClipFeatures(NamedTuple):
    """Outputs of a CLIP model, of the global batch in training."""

    image: Tensor
    """(B, D), L2-normalised; (0, D) where only the pixels that a head predicts are asked for."""
    text: Tensor
    """(B, D), L2-normalised; (0, D) where nothing asks for texts."""
    logit_scale: Tensor
    """() scale s of the logits, already exponentiated."""
    labels: Tensor | None = None
    """(B,) class indices; None unless a loss reads them."""
    logits: Tensor | None = None
    """(B, C) logits of the model's head, or the values (B, ...) that it predicts; None unless a loss reads them."""
    logit_bias: Tensor | None = None
    """() bias b of the logits of pairs (SigLIP); None for models without one."""
    targets: Tensor | None = None
    """(B, ...) values to predict, NaN where they are unknown; None unless a loss reads them."""

    def detached(self) -> ClipFeatures:
        """The same features without gradients."""
        return ClipFeatures._make(None if value is None else value.detach() for value in self)

    def logged(self) -> dict[str, Tensor]:
        """The logit scale and, if there is one, the logit bias."""
        values = {"logit_scale": self.logit_scale, "logit_bias": self.logit_bias}
        return {name: value.detach() for name, value in values.items() if value is not None}


class Conversations(NamedTuple):
    """One batch of conversations about images."""

    inputs: dict[str, Tensor]
    """Inputs of the model by name, as its processor gives them: ``input_ids`` (B, L), ``attention_mask`` (B, L),
    ``pixel_values`` and others, padded on the right."""
    targets: Tensor
    """(B, L) the next token where it belongs to an answer or ends one; -1 elsewhere."""
    indices: Tensor
    """(B,) position of the sample in its data set; -1 marks padding, which has no targets."""
    answers: Tensor
    """(B,) index of the sample's answer among the distinct answers of its evaluation set; -1 in training."""
    distractors: Tensor
    """(B, D) tokens of a wrong answer whose choice is counted, followed by -1; all -1 where there is none. The last of
    them is its end where the true answer begins with it, and only there."""
    unreadable: tuple[str, ...] = ()
    """Locations of unreadable images, each with the reason."""
    step_tokens: float | None = None
    """Number of answered positions of all batches of this rank's optimizer step, divided by the number of batches that
    are accumulated; None where a step has one batch."""


class AnswerLogits(NamedTuple):
    """Outputs of a model that answers questions, at the answered positions of this rank."""

    logits: Tensor
    """(T, V) logits of the next token, in fp32."""
    targets: Tensor
    """(T,) the next token."""
    sample: Tensor
    """(T,) row of the batch that each position belongs to, ascending."""
    tokens: Tensor
    """() number of answered positions of the optimizer step, divided by the numbers of ranks and of accumulated
    batches: of sums over the positions of a rank's batch, divided by it, the mean over ranks and accumulated batches is
    the mean over all positions of the step."""

    def detached(self) -> AnswerLogits:
        """The same logits without gradients."""
        return self._replace(logits=self.logits.detach())

    def logged(self) -> dict[str, Tensor]:
        """Number of answered positions, the mean over ranks and accumulated batches."""
        return {"answer_tokens": self.tokens}


class ConversationSpec(NamedTuple):
    """Specification of the inputs of a model that answers questions, which the data module prepares."""

    processor: Any
    """Processor of the ``transformers`` library, with a tokenizer and a chat template."""
    context_length: int
    """Maximum number of tokens of a conversation, those of its images included."""
    ends: tuple[int, ...]
    """Tokens at which generation stops; the first ends answers to which the chat template gives no end."""


class AnswerTexts(NamedTuple):
    """Texts of the answers of models and of data sets, which suites compare."""

    decode: Callable[..., str]
    """Tokens to text, as ``decode`` of a tokenizer of ``transformers``."""
    of_set: Callable[[QuestionSet], Sequence[str]]
    """Distinct answers of an evaluation set."""


class LossInputs(NamedTuple):
    """Inputs of every loss term: features of the *global* batch."""

    student: Any
    """Features of the student, of the type that its model class names."""
    teacher: Any = None
    """Features of the teacher, of the same type; None where no term compares with a teacher."""
    anchors: Tensor | None = None
    """(A, D) features of anchor texts; None where no term compares with them."""


class InputSpec(NamedTuple):
    """Specification of a model's inputs, which the data module prepares."""

    image_size: int
    """Height and width in pixels."""
    mean: tuple[float, float, float]
    """Channel means, for pixels in [0, 1]."""
    std: tuple[float, float, float]
    """Channel standard deviations, for pixels in [0, 1]."""
    tokenize: Callable[[Sequence[str]], Tensor]
    """Captions to (N, context length) token ids."""
    trims_text: bool
    """Whether texts may be cut to the longest caption of a batch without changing any feature."""
    interpolation: str = "bicubic"
    """How images are resized: ``bicubic`` or ``bilinear``."""
    resize_mode: str = "shortest"
    """``shortest``: the shorter side to ``image_size``, then the middle. ``squash``: both sides."""


class Neighbours(NamedTuple):
    """Which frames of videos are judged together, and by which labels."""

    labels: tuple[tuple[int, ...], ...]
    """The labels of each frame, of which any counts as right."""
    groups: tuple[tuple[int, ...], ...]
    """The places of each anchor and its neighbours in the data set."""


class TargetSpec(NamedTuple):
    """Specification of the values that a head predicts in place of classes."""

    mean: Tensor
    """(K,), or (H, W) of pixels: their means over the training samples; of binary values, the logits of these."""
    unit: Tensor
    """(K,), or () of pixels: their standard deviations, in which the head computes; ones for binary values."""
    binary: bool
    """Whether they are 0 or 1, so that logits are predicted."""


class ClassTexts(NamedTuple):
    """Texts of classes, from which prompts are made."""

    classnames: tuple[str, ...]
    """C' class names, in the order of the labels."""
    templates: tuple[str, ...]
    """P' templates with ``{c}``."""


class CaptionTokens(NamedTuple):
    """All captions of a set of images."""

    tokens: Tensor
    """(T, L) token ids, in the order of the images."""
    owners: tuple[int, ...]
    """Position in the set of the image that each of the T captions describes, ascending."""


class EvalSet(NamedTuple):
    """One data set of an evaluation suite, with labels or with captions."""

    name: str
    split: str
    role: str
    """``"id"`` (the distribution trained on), ``"ood"`` (a shift of it), or ``"other"`` (data that the model knew
    before training, with classes of their own, on which forgetting is measured)."""
    classes: tuple[tuple[int, ...], ...] | None = None
    """The training classes that each of its labels covers: its logit is the largest of theirs. None where its labels
    are those of training."""
    samples: int | None = None
    """How many there must be; None where that is not known."""
    neighbours: Neighbours | None = None
    """Labels and neighbours of video frames. Anchor frames have labels, and the other frames -1."""
    zero_shot: bool = False
    """Whether models are scored zero-shot on it even if they have a head of their own, which was not trained for it."""
    texts: ClassTexts | None = None
    """Class names and templates of the set's own classes, among which every model classifies zero-shot; None where its
    classes are training classes."""

    retrieval: bool = False
    """Whether its images have captions in place of labels, and models are scored by retrieval."""

    @property
    def ignores_head(self) -> bool:
        """Whether models are scored zero-shot on it even if they have a head of their own."""
        return self.zero_shot or self.texts is not None


class QuestionSet(NamedTuple):
    """One evaluation set of questions about images."""

    name: str
    split: str
    role: str
    """``"id"`` for the images and questions that are trained on, ``"ood"`` for the same task with other images or
    another wording, ``"other"`` for other tasks, which the model knew before training."""
    image: str
    """Whether images are of the distribution trained on, ``id`` or ``ood``."""
    text: str
    """Kind of text: ``id`` for the trained question, or how it differs, such as ``wording`` or ``task``."""
    answers: int
    """Number of distinct answers."""
    samples: int | None = None
    """Number of samples; None if unknown."""
