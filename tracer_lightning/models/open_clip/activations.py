"""Outputs of the blocks of a tower."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer, text_global_pool
from torch import Tensor, nn

from tracer_lightning.models.open_clip.clip import ClipModel, transformer_blocks
from tracer_lightning.models.open_clip.fast_attention import all_tokens
from tracer_lightning.models.peft import Tower

Tokens = Literal["pooled", "patches"]
FEATURES = "features"
"""Name of the model's normalised features, which follow the blocks."""


def _tower(model: ClipModel, tower: Tower) -> Any:
    clip = model.model
    return clip.visual if tower == "image" else getattr(clip, "text", clip)


def blocks(model: ClipModel, tower: Tower) -> dict[str, nn.Module]:
    """Return the blocks of a tower by name, in the order of their computation.

    Blocks of a transformer are named 1, 2, ..., those of a ResNet 1.1, 1.2, ..., 4.3 by stage and block.

    Args:
        model: model with open_clip's own transformers or ResNets, or timm's ViTs.
        tower: ``image`` or ``text``.

    Raises:
        ValueError: the tower is another one of timm's or Hugging Face's, and its blocks are unknown.
    """
    root = _tower(model, tower)
    if isinstance(root, ModifiedResNet):
        stages = (root.layer1, root.layer2, root.layer3, root.layer4)
        return {f"{s}.{b}": block for s, stage in enumerate(stages, 1) for b, block in enumerate(stage, 1)}
    sequence = transformer_blocks(root)
    if sequence is None:
        raise ValueError(f"the blocks of the {tower} tower, a {type(root).__name__}, are unknown; use another tower")
    return {str(number): block for number, block in enumerate(sequence, 1)}


class BlockOutputs(nn.Module):
    """Module that computes one vector per input from every block of a tower, and the features.

    For a transformer, this is the token that the tower pools at its end: the class token of images, the end-of-text
    token of texts, and the mean over the patches of SigLIP models, which have no class token. For a ResNet, it is the
    mean over the image.

    Args:
        model: model, which is not copied.
        tower: ``image`` or ``text``.
        tokens: ``patches`` for the mean over a ViT's patches instead of its class token.
    """

    def __init__(self, model: ClipModel, tower: Tower, tokens: Tokens = "pooled") -> None:
        super().__init__()
        self.model = model
        self.tower, self.tokens = tower, tokens
        self._blocks = blocks(model, tower)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Compute the outputs by name of the block, (N, width) each, and ``features``, (N, D).

        Args:
            inputs: (N, 3, H, W) normalised pixels, or (N, L) token ids.
        """
        outputs: dict[str, Tensor] = {}

        def record(name: str, module: nn.Module, args: Any, output: Tensor) -> None:
            del module, args
            outputs[name] = self._pool(output, inputs)

        handles = [block.register_forward_hook(partial(record, name)) for name, block in self._blocks.items()]
        try:
            encode = self.model.encode_image if self.tower == "image" else self.model.encode_text
            with all_tokens(self.model):
                features = encode(inputs)
        finally:
            for handle in handles:
                handle.remove()
        return {**outputs, FEATURES: features}

    def _pool(self, output: Tensor, inputs: Tensor) -> Tensor:
        """Pool a block's output to (N, width)."""
        root = _tower(self.model, self.tower)
        if isinstance(root, ModifiedResNet):
            return output.mean(dim=(2, 3))  # (N, width, H', W')
        if trunk := getattr(root, "trunk", None):
            pools_class_token = trunk.global_pool == "token" and self.tokens == "pooled"
            return output[:, 0] if pools_class_token else output[:, trunk.num_prefix_tokens :].mean(dim=1)
        tokens = output if root.transformer.batch_first else output.transpose(0, 1)  # (N, tokens, width)
        if isinstance(root, VisionTransformer):
            pools_class_token = root.pool_type == "tok" and self.tokens == "pooled"
            return tokens[:, 0] if pools_class_token else tokens[:, 1:].mean(dim=1)
        if getattr(root, "cls_emb", None) is not None:  # the last token, regardless of the pool type
            return tokens[:, -1]
        pool_type = getattr(root, "text_pool_type", None) or root.pool_type
        pooled: Tensor = text_global_pool(tokens, inputs, pool_type, getattr(root, "text_eos_id", None) or root.eos_id)
        return pooled
