"""Small models and features for all tests."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from tracer_lightning.models import Backbone, build_clip
from tracer_lightning.types import ClipFeatures, LossInputs

CONF = str(Path(__file__).parent.parent / "conf")
torch.set_num_threads(1)  # pytest runs two processes


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", metavar="K/N", help="only every N-th file that has selected tests, from the K-th on")


@pytest.hookimpl(trylast=True)  # after tests were selected by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (part := config.getoption("--part")) is None:
        return
    number, parts = map(int, part.split("/"))
    files = sorted({item.path for item in items})
    chosen = set(files[number - 1 :: parts])
    config.hook.pytest_deselected(items=[item for item in items if item.path not in chosen])
    items[:] = [item for item in items if item.path in chosen]


@pytest.fixture(autouse=True, scope="session")
def _shared_vocabulary() -> Iterator[None]:
    """Parse open_clip's vocabulary once for all tokenizers: parsing takes longer than building a tiny model."""
    parse = SimpleTokenizer.__init__

    @functools.cache
    def attributes(*args: object, **options: object) -> dict[str, object]:
        tokenizer = SimpleTokenizer.__new__(SimpleTokenizer)
        parse(tokenizer, *args, **options)
        return vars(tokenizer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            SimpleTokenizer, "__init__", lambda self, *args, **options: vars(self).update(attributes(*args, **options))
        )
        yield


def tiny_backbone(seed: int = 0) -> Backbone:
    """Build an open_clip CLIP of one block per tower for images of 32 x 32 pixels."""
    torch.manual_seed(seed)
    return build_clip(
        embed_dim=16,
        vision_cfg={"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        text_cfg={"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    )


class FinishedRun(NamedTuple):
    """A run of eight steps of TRACER, which tests only read."""

    folder: Path
    results: dict[str, Any]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    from tests.commands.helpers import composed, hydra_context
    from tracer_lightning.commands.train import run

    parent = tmp_path_factory.mktemp("finished")
    with hydra_context():
        results = run(composed(parent))
    return FinishedRun(parent / "run", results)


@pytest.fixture
def backbone() -> Backbone:
    return tiny_backbone()


def random_features(batch: int = 6, width: int = 5, seed: int = 0, scale: float = 4.0) -> ClipFeatures:
    """Draw normalised features in double precision that require gradients."""
    generator = torch.Generator().manual_seed(seed)

    def features() -> torch.Tensor:
        raw = torch.randn(batch, width, generator=generator, dtype=torch.double)
        return torch.nn.functional.normalize(raw, dim=-1).requires_grad_()

    return ClipFeatures(features(), features(), torch.tensor(scale, dtype=torch.double, requires_grad=True))


@pytest.fixture
def inputs() -> LossInputs:
    """Features of student and teacher for a batch in which classes repeat."""
    student = random_features()._replace(labels=torch.tensor([0, 1, 0, 2, 1, 0]))
    return LossInputs(student, random_features(seed=1, scale=3.0).detached())
