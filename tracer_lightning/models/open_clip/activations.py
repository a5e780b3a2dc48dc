"""What the blocks of a tower make of their inputs."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer, text_global_pool
from torch import Tensor, nn

from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.open_clip.fast_attention import whole_blocks
from tracer_lightning.models.peft import Tower

Tokens = Literal["pooled", "patches"]
FEATURES = "features"
"""What stands behind the blocks: the model's normalised features."""


def _tower(model: ClipModel, tower: Tower) -> Any:
    clip = model.model
    return clip.visual if tower == "image" else getattr(clip, "text", clip)


def blocks(model: ClipModel, tower: Tower) -> dict[str, nn.Module]:
    """The blocks of a tower in the order of their computation.

    Those of a transformer are named 1, 2, ..., those of a ResNet 1.1, 1.2, ..., 4.3: stage and block.

    Args:
        model: with open_clip's own transformers or ResNets.
        tower: ``image`` or ``text``.

    Raises:
        ValueError: a tower of another kind (timm's, Hugging Face's), whose blocks are not known.
    """
    root = _tower(model, tower)
    if isinstance(root, ModifiedResNet):
        stages = (root.layer1, root.layer2, root.layer3, root.layer4)
        return {f"{s}.{b}": block for s, stage in enumerate(stages, 1) for b, block in enumerate(stage, 1)}
    found = getattr(getattr(root, "transformer", None), "resblocks", None)
    if found is None:
        raise ValueError(
            f"towers: the blocks of this {tower} tower, a {type(root).__name__}, are not known; leave it out of towers="
        )
    return {str(number): block for number, block in enumerate(found, 1)}


class BlockOutputs(nn.Module):
    """One vector for each input from every block of a tower, and the features.

    Of a transformer it is that of the token which the tower pools at its end: the class token of images, the end of
    texts. Of a ResNet's blocks it is the mean over the image.

    Args:
        model: its weights are used as they are.
        tower: ``image`` or ``text``.
        tokens: ``patches`` takes the mean over a ViT's patches instead of its class token.
    """

    def __init__(self, model: ClipModel, tower: Tower, tokens: Tokens = "pooled") -> None:
        super().__init__()
        self.model = model
        self.tower, self.tokens = tower, tokens
        self._blocks = blocks(model, tower)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Name of the block to (N, width), and ``features`` to (N, D).

        Args:
            inputs: (N, 3, H, W) normalised pixels, or (N, L) token ids.
        """
        found: dict[str, Tensor] = {}

        def keep(name: str, module: nn.Module, given: Any, output: Tensor) -> None:
            del module, given
            found[name] = self._one_vector(output, inputs)

        handles = [block.register_forward_hook(partial(keep, name)) for name, block in self._blocks.items()]
        try:
            encode = self.model.encode_image if self.tower == "image" else self.model.encode_text
            with whole_blocks(self.model):
                features = encode(inputs)
        finally:
            for handle in handles:
                handle.remove()
        return {**found, FEATURES: features}

    def _one_vector(self, output: Tensor, inputs: Tensor) -> Tensor:
        """(N, width) of what a block returns."""
        root = _tower(self.model, self.tower)
        if isinstance(root, ModifiedResNet):
            return output.mean(dim=(2, 3))  # (N, width, H', W')
        tokens = output if root.transformer.batch_first else output.transpose(0, 1)  # (N, tokens, width)
        if isinstance(root, VisionTransformer):
            pools_class_token = root.pool_type == "tok" and self.tokens == "pooled"
            return tokens[:, 0] if pools_class_token else tokens[:, 1:].mean(dim=1)
        if getattr(root, "cls_emb", None) is not None:  # at the end, pooled whatever the pooling is called
            return tokens[:, -1]
        kind = getattr(root, "text_pool_type", None) or root.pool_type
        pooled: Tensor = text_global_pool(tokens, inputs, kind, getattr(root, "text_eos_id", None) or root.eos_id)
        return pooled
