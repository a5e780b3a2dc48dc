import pickle

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import tiny_backbone
from tracer_lightning.models import freeze, load_weights


def variants(state):
    return {
        "bare.pt": state,
        "openclip.pt": {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}},
        "lightning.ckpt": {
            "state_dict": {f"student.model.{name}": value for name, value in state.items()}
            | {f"teacher.module.model.{name}": torch.zeros_like(value) for name, value in state.items()}
            | {"teacher._extra_state": {"step": 3}}
        },
    }


@pytest.mark.parametrize("name", ["bare.pt", "openclip.pt", "lightning.ckpt", "export.safetensors"])
def test_loads_every_form(tmp_path, name):
    source, model = tiny_backbone(1).model, tiny_backbone(2).model
    state = source.model.state_dict()
    if name.endswith("safetensors"):
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / name)
    else:
        torch.save(variants(state)[name], tmp_path / name)
    load_weights(model, tmp_path / name)
    for first, second in zip(source.parameters(), model.parameters(), strict=True):
        assert torch.equal(first, second)


def test_missing_file_raises_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"init_weights=.*nowhere\.pt: no such file"):
        load_weights(tiny_backbone().model, tmp_path / "nowhere.pt")


def test_another_architecture_raises_an_error_with_its_first_key(tmp_path):
    state = tiny_backbone().model.model.state_dict()
    torch.save(state | {"visual.proj": torch.zeros(3, 3)}, tmp_path / "shape.pt")
    with pytest.raises(ValueError, match=r"visual\.proj has shape \(3, 3\)"):
        load_weights(tiny_backbone().model, tmp_path / "shape.pt")
    torch.save({name: value for name, value in state.items() if name != "logit_scale"}, tmp_path / "lacks.pt")
    with pytest.raises(ValueError, match="lacks logit_scale"):
        load_weights(tiny_backbone().model, tmp_path / "lacks.pt")
    torch.save(state | {"visual.extra": torch.zeros(1)}, tmp_path / "more.pt")
    with pytest.raises(ValueError, match=r"contains visual\.extra"):
        load_weights(tiny_backbone().model, tmp_path / "more.pt")


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)]], ids=["tensor", "list"])
def test_an_invalid_state_dict_raises_an_error(tmp_path, content):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ValueError, match="not a checkpoint or state dict"):
        load_weights(tiny_backbone().model, tmp_path / "file.pt")


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize("content", ["pickle", "garbage", "empty"])
def test_pickles_are_not_executed_and_garbage_raises_an_error(tmp_path, content):
    path = tmp_path / "file.pt"
    if content == "pickle":
        torch.save({"state_dict": Evil()}, path, pickle_module=pickle)
    else:
        path.write_bytes(b"<html>not found</html>" if content == "garbage" else b"")
    with pytest.raises(ValueError, match="not a file of plain weights"):
        load_weights(tiny_backbone().model, path)


def test_freezing_by_pattern(backbone):
    freeze(backbone.model, ["visual.*"])
    names = {name for name, p in backbone.model.model.named_parameters() if not p.requires_grad}
    assert names == {name for name, _ in backbone.model.model.named_parameters() if name.startswith("visual.")}
    with pytest.raises(ValueError, match=r"'vision\.\*' matches no parameter"):
        freeze(backbone.model, ["vision.*"])
    with pytest.raises(ValueError, match="leaves nothing to train"):
        freeze(backbone.model, ["*"])
