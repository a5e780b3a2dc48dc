"""Where in an image a model looks: attention rollout and Grad-CAM.

Both are short enough to stand here: captum has Grad-CAM for convolutions alone and no rollout, and neither knows the
tokens of a ViT. Only the modules' public interface is hooked, and nothing stays hooked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

Logits = Callable[[Tensor], Tensor]
"""Images (B, 3, H, W) to logits (B, C)."""
Maps = Callable[[nn.Module, Logits, Tensor, Tensor], Tensor]
"""Image tower, logits, images (B, 3, H, W) and classes (B,) to maps (B, h, w), larger where it matters more."""


@contextmanager
def _hooked(*handles: Any) -> Iterator[None]:
    """Remove the hooks afterwards."""
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


# -- attention rollout ----------------------------------------------------------------------------------------------


def _blocks(visual: nn.Module) -> list[Any]:
    """The blocks of a ViT whose features are a class token or a mean of patches; ValueError for other towers."""
    blocks: list[Any] = list(visual.transformer.resblocks) if isinstance(visual, VisionTransformer) else []
    plain = all(isinstance(block.attn, nn.MultiheadAttention) for block in blocks)
    pooled = getattr(visual, "pool_type", None) in ("tok", "avg") and getattr(visual, "attn_pool", None) is None
    if not (blocks and plain and pooled):
        raise ValueError(
            f"visual must be one of open_clip's ViTs with a class token, got a {type(visual).__name__}; use grad_cam "
            "for a ResNet"
        )
    return blocks


def attention_weights(visual: nn.Module, images: Tensor) -> list[Tensor]:
    """Attention of each block, averaged over its heads: (B, N, N) with a row for each query, the class token first.

    A last block that computes the class token alone gives its row (B, 1, N).

    Args:
        visual: a ViT of open_clip.
        images: (B, 3, H, W), normalised pixels.
    """
    attention: list[Tensor] = []

    def ask(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "need_weights": True, "average_attn_weights": True}

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        attention.append(output[1])

    layers = [block.attn for block in _blocks(visual)]
    asked = [layer.register_forward_pre_hook(ask, with_kwargs=True) for layer in layers]
    with _hooked(*asked, *(layer.register_forward_hook(keep) for layer in layers)), torch.no_grad():
        visual(images)
    return attention


def rollout(layers: Sequence[Tensor]) -> Tensor:
    """Attention rollout (Abnar & Zuidema, 2020): the product of (A + I) / 2 over the layers, the last one leftmost.

    Args:
        layers: attention weights (B, N, N), first layer first, whose rows sum to one; of the last perhaps the first
            rows alone.

    Returns:
        (B, N, N), whose rows sum to one, or as many rows as the last layer has.
    """
    identity = torch.eye(layers[0].shape[-1], dtype=layers[0].dtype, device=layers[0].device)
    rolled = identity.expand(len(layers[0]), -1, -1)
    for layer in layers:
        rolled = 0.5 * (layer + identity[: layer.shape[-2]]) @ rolled
    return rolled


def attention_rollout(visual: nn.Module, logits: Logits, images: Tensor, classes: Tensor) -> Tensor:
    """Share of each patch in what a ViT's features are made of, the same for all classes (B, h, w); its sum is <= 1."""
    del logits, classes
    rolled = rollout(attention_weights(visual, images))
    asking = rolled[:, :1] if getattr(visual, "pool_type", None) == "tok" else rolled[:, 1:]
    patches = asking.mean(dim=1)[:, 1:]
    height, width = getattr(visual, "grid_size")  # noqa: B009
    return patches.reshape(-1, height, width)


# -- Grad-CAM -------------------------------------------------------------------------------------------------------


def _layer(visual: nn.Module) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The last layer with places, and from its output to (B, channels, h, w)."""
    if isinstance(visual, ModifiedResNet):
        return visual.layer4, lambda output: output
    last = _blocks(visual)[-1]
    height, width = getattr(visual, "grid_size")  # noqa: B009
    return last.ln_1, lambda output: output[:, 1:].mT.unflatten(-1, (height, width))  # (B, N, width), class token first


def grad_cam(visual: nn.Module, logits: Logits, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al., 2017): ReLU of the sum over channels of activation times mean gradient.

    Of a ResNet's last block, or of the normalised patches that go into a ViT's last block.

    Args:
        visual: the image tower that ``logits`` goes through.
        logits: images to logits (B, C).
        images: (B, 3, H, W).
        classes: (B,) whose logits are explained.

    Returns:
        (B, h, w), >= 0.
    """
    kept: list[Tensor] = []
    layer, spread = _layer(visual)

    def cut(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())  # nothing before it needs a gradient
        return kept[0]

    with torch.enable_grad(), _hooked(layer.register_forward_hook(cut)):
        chosen = logits(images).gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, kept[0])
    activations, gradients = spread(kept[0].detach()), spread(gradient)  # (B, channels, h, w)
    return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1).relu()


# -- either ---------------------------------------------------------------------------------------------------------


def by_tower(visual: nn.Module, logits: Logits, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM of a ResNet, attention rollout of a ViT (B, h, w); ValueError for other towers."""
    maps: Maps = grad_cam if isinstance(visual, ModifiedResNet) else attention_rollout
    return maps(visual, logits, images, classes)
