"""Errors of weights of another architecture name the fitting backbone."""

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import tiny_backbone
from tracer_lightning.models import ClipModel
from tracer_lightning.models.weights import read_weights


def on_meta(name):
    with torch.device("meta"):
        return ClipModel(open_clip.create_model(name, device="meta"))


@pytest.fixture(scope="module")
def fp8_file(tmp_path_factory):
    """Function that writes the names and shapes of a published architecture in one byte a weight."""

    def saved(name):
        path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        state = on_meta(name).model.state_dict()
        save_file({key: torch.zeros(value.shape, dtype=torch.float8_e4m3fn) for key, value in state.items()}, path)
        return path

    return saved


@pytest.mark.parametrize(
    ("file", "backbone", "message"),
    [
        ("ViT-B-32", "ViT-B-16", r"\(it fits ViT-B-32 or ViT-B-32-quickgelu\)"),
        ("RN50", "RN101", r"\(it fits RN50 or RN50-quickgelu\)"),
    ],
)
def test_the_error_names_the_fitting_backbone(fp8_file, file, backbone, message):
    path = fp8_file(file)
    for model in (on_meta(backbone), tiny_backbone().model):
        with pytest.raises(ValueError, match=message):
            read_weights(model, path)


def test_the_error_describes_an_unknown_architecture(tmp_path):
    torch.save(tiny_backbone().model.model.state_dict(), tmp_path / "tiny.pt")
    described = r"it is a ViT of 1 blocks, width 32, patches of 16 px, images of 32 px, .* 16 tokens, and 16 features"
    with pytest.raises(ValueError, match=described):
        read_weights(on_meta("ViT-B-32"), tmp_path / "tiny.pt")


def test_the_error_names_no_backbone_where_the_architecture_fits(tmp_path):
    state = tiny_backbone().model.model.state_dict()
    torch.save(state | {"visual.extra": torch.zeros(1)}, tmp_path / "more.pt")
    with pytest.raises(ValueError, match=r"contains visual\.extra, which the backbone lacks; choose another backbone$"):
        read_weights(tiny_backbone().model, tmp_path / "more.pt")
