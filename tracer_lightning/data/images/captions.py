"""Captions from class names and templates, and the random numbers that choose among them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.names import PLACEHOLDER, warn_indistinguishable

WITHOUT_TEXTS = ("",), (PLACEHOLDER,)
"""Class names and templates of images with captions of their own, which use none."""
DOMAIN = "{d}"
"""Placeholder of the domain in a template."""


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Random generator of one sample in one epoch, independent of the process and the order of loading."""
    return np.random.Generator(np.random.Philox(key=(seed, epoch), counter=(0, 0, 0, index)))


class SampleRandomness:
    """Random numbers of samples as :func:`sample_rng` gives them, from one generator that is set to each sample.

    Setting a generator takes a tenth of the time that making one takes.

    Args:
        seed: see :func:`sample_rng`.
    """

    def __init__(self, seed: int) -> None:
        self._generator = sample_rng(seed, 0, 0)
        self._state: dict[str, Any] = dict(self._generator.bit_generator.state)

    def of(self, epoch: int, index: int) -> np.random.Generator:
        """Return the generator of a sample, which the next call changes."""
        numbers = self._state["state"]
        numbers["key"][1], numbers["counter"][3] = epoch, index
        self._generator.bit_generator.state = self._state
        return self._generator


class CaptionTable:
    """Tokens of every template filled with every class name.

    Args:
        classnames: names of C classes, each a name or several, of which every caption draws one.
        templates: P templates, each with the placeholder ``{c}`` and, where there are domains, optionally ``{d}``.
        tokenize: function from N captions to (N, context length) token ids.
        domains: S names of the domains of images, for ``{d}``.
    """

    def __init__(
        self,
        classnames: Sequence[str | Sequence[str]],
        templates: Sequence[str],
        tokenize: Callable[[Sequence[str]], Tensor],
        domains: Sequence[str] = (),
    ) -> None:
        if not classnames or not templates:
            raise ValueError(f"classnames and templates must not be empty, got {len(classnames)} and {len(templates)}")
        for template in templates:
            if PLACEHOLDER not in template:
                raise ValueError(f"template {template!r} lacks the placeholder {PLACEHOLDER}")
            if DOMAIN in template and not domains:
                raise ValueError(
                    f"template {template!r} names a domain, but there are no domains; only train_templates of several "
                    "training folders may"
                )
        names_of = [(names,) if isinstance(names, str) else tuple(names) for names in classnames]
        names = [name for names in names_of for name in names]
        captions = [
            template.replace(DOMAIN, domain).replace(PLACEHOLDER, name)
            for domain in domains or ("",)
            for name in names
            for template in templates
        ]
        self._tokenize = tokenize
        self._domains, self._names = max(1, len(domains)), len(names)
        self._name_counts = [len(names) for names in names_of]
        self._first_names = [0, *itertools.accumulate(self._name_counts)][:-1]
        self.tokens = tokenize(captions).reshape(self._domains * len(names), len(templates), -1)
        """(S N, P, context length) token ids of the N names of all classes, grouped by domain."""
        self.templates = len(templates)
        """Number of templates, P."""
        self._flat = self.tokens.flatten(0, 1)
        keys = [self.tokens[first].numpy().tobytes() for first in self._first_names]
        warn_indistinguishable([names[first] for first in self._first_names], keys)

    def of(self, sample: RawSample, rng: np.random.Generator, template: int | None = None) -> Tensor:
        """Return (context length,) tokens of a caption of the sample's own or, where it has none, of a filled template.

        Args:
            sample: sample with its label, captions and domain.
            rng: generator that draws one of several captions, or the template and, where its class has several, the
                name.
            template: index of the template; None to draw it.
        """
        if sample.captions:
            drawn = 0 if len(sample.captions) == 1 else int(rng.integers(len(sample.captions)))
            return self._tokenize([sample.captions[drawn]])[0]
        if not 0 <= sample.label < len(self._name_counts):
            raise ValueError(f"{sample.origin} has neither a caption nor one of {len(self._name_counts)} classes")
        domain = sample.domain if self._domains > 1 else 0
        row = domain * self._names + self._first_names[sample.label]
        if template is None:
            template = int(rng.integers(self.templates))
        if (count := self._name_counts[sample.label]) > 1:
            row += int(rng.integers(count))
        return self._flat[row * self.templates + template]


class CaptionTables:
    """Cache of caption tables: tokenizing ImageNet's 80,000 captions takes seconds.

    Args:
        tokenize: see :class:`CaptionTable`.
    """

    def __init__(self, tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        self._tokenize = tokenize
        self._tables: dict[tuple[tuple[Any, ...], ...], CaptionTable] = {}

    def of(
        self, classnames: Sequence[str | tuple[str, ...]], templates: Sequence[str], domains: Sequence[str] = ()
    ) -> CaptionTable:
        """Return the table of these names and templates; domains are ignored where no template uses them."""
        if not any(DOMAIN in template for template in templates):
            domains = ()
        key = (tuple(classnames), tuple(templates), tuple(domains))
        if key not in self._tables:
            self._tables[key] = CaptionTable(classnames, templates, self._tokenize, domains)
        return self._tables[key]
