"""Captions from class names and templates, and the randomness that draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.names import PLACEHOLDER, warn_alike

DOMAIN = "{d}"


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Random numbers of one sample in one epoch, the same in any process and order of loading."""
    return np.random.Generator(np.random.Philox(key=(seed, epoch), counter=(0, 0, 0, index)))


class CaptionTable:
    """Every template filled with every class name, tokenised once.

    Args:
        classnames: C names.
        templates: P templates, each with the placeholder ``{c}`` and, where domains are named, perhaps ``{d}``.
        tokenize: captions to (N, context length) ids.
        domains: S names of the places that images come from, for ``{d}``.
    """

    def __init__(
        self,
        classnames: Sequence[str],
        templates: Sequence[str],
        tokenize: Callable[[Sequence[str]], Tensor],
        domains: Sequence[str] = (),
    ) -> None:
        if not classnames or not templates:
            raise ValueError(f"data: {len(classnames)} class names and {len(templates)} templates make no captions")
        for template in templates:
            if PLACEHOLDER not in template:
                raise ValueError(f"data: template {template!r} lacks the placeholder {PLACEHOLDER}")
            if DOMAIN in template and not domains:
                raise ValueError(
                    f"data: template {template!r} names a domain; only train_templates of several folders may"
                )
        self._tokenize = tokenize
        self._domains = max(1, len(domains))
        captions = [
            template.replace(DOMAIN, domain).replace(PLACEHOLDER, name)
            for domain in domains or ("",)
            for name in classnames
            for template in templates
        ]
        self.tokens = tokenize(captions).reshape(self._domains * len(classnames), len(templates), -1)
        """(S C, P, context length), domain by domain."""
        self.templates = len(templates)
        """P."""
        warn_alike(classnames, [row.numpy().tobytes() for row in self.tokens[: len(classnames)]])

    def of(self, image: RawSample, rng: np.random.Generator, template: int | None = None) -> Tensor:
        """(context length,) tokens of the image's own caption, or of a template for its class and domain.

        Args:
            image: with its label, caption and domain.
            rng: draws the template where there is none.
            template: number of the template.
        """
        if image.caption is not None:
            return self._tokenize([image.caption])[0]
        rows, templates = self.tokens.shape[:2]
        if not 0 <= image.label < rows // self._domains:
            raise ValueError(f"{image.origin} has neither a caption nor one of {rows // self._domains} classes")
        domain = image.domain if self._domains > 1 else 0
        row = domain * (rows // self._domains) + image.label
        return self.tokens[row, int(rng.integers(templates)) if template is None else template]


class CaptionTables:
    """Tables, each made once: ImageNet's 80,000 captions take seconds.

    Args:
        tokenize: as for :class:`CaptionTable`.
    """

    def __init__(self, tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        self._tokenize = tokenize
        self._tables: dict[tuple[tuple[str, ...], ...], CaptionTable] = {}

    def of(self, classnames: Sequence[str], templates: Sequence[str], domains: Sequence[str] = ()) -> CaptionTable:
        """The table of these; domains that no template names are left out."""
        if not any(DOMAIN in template for template in templates):
            domains = ()
        key = (tuple(classnames), tuple(templates), tuple(domains))
        if key not in self._tables:
            self._tables[key] = CaptionTable(classnames, templates, self._tokenize, domains)
        return self._tables[key]
