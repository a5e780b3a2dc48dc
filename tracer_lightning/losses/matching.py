"""What losses of image-text pairs have in common."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tracer_lightning.functional.matching import MatchingName, find_matching
from tracer_lightning.losses.base import LossTerm, require_teacher
from tracer_lightning.types import ClipFeatures, LossInputs


class MatchingTerm(LossTerm):
    """A function of the probabilities that images and captions match.

    Args:
        matching: ``softmax`` (each image has one caption in the batch, as for CLIP) or ``sigmoid`` (each pair matches
            or not, as for SigLIP); see :mod:`tracer_lightning.functional.matching`.
    """

    features = ClipFeatures
    reads = frozenset({"image", "text", "logit_scale"})

    def __init__(self, matching: MatchingName = "softmax") -> None:
        super().__init__()
        self.matching = find_matching(matching)
        self.reads = self.reads | self.matching.reads

    def compare_logits(
        self, compare: Callable[[Tensor, Tensor], Tensor], inputs: LossInputs, temperature: float
    ) -> Tensor:
        """Sum over both directions, image to text and text to image, of a comparison of teacher and student.

        Args:
            compare: function from the teacher's and the student's logits (B, B) to a loss ().
            inputs: features of teacher and student.
            temperature: divisor of the teacher's logits.
        """
        student, teacher = inputs.student, require_teacher(inputs)
        logits = self.matching.logits
        image_to_text = compare(
            logits(teacher.image, teacher.text, teacher) / temperature, logits(student.image, student.text, student)
        )
        text_to_image = compare(
            logits(teacher.text, teacher.image, teacher) / temperature, logits(student.text, student.image, student)
        )
        return image_to_text + text_to_image
