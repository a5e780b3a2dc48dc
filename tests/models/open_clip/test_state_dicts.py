"""State dicts as people save them: prefixed, wrapped, beside other things, of several models."""

import numpy as np
import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.models import load_weights


@pytest.fixture(scope="module")
def source():
    return tiny_backbone(1).model.model.state_dict()


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def compiled_tower(state):
    return {name.replace("visual.", "visual._orig_mod."): value for name, value in state.items()}


PREFIXES = (
    *("_orig_mod.", "module.", "model.", "module.model.", "_orig_mod.module.", "module._orig_mod.", "model._orig_mod."),
    *("_fsdp_wrapped_module.", "clip_model.", "net.module.model."),
)
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2, 2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
WRAPPED = {
    **{prefix: lambda state, prefix=prefix: prefixed(state, prefix) for prefix in PREFIXES},
    "a compiled tower": compiled_tower,
    "open_clip": lambda state: {
        **{"epoch": 3, "name": "run", "optimizer": OPTIMIZER, "scaler": {"scale": 65536.0}},
        "state_dict": prefixed(state, "module."),
    },
    "model": lambda state: {"model": state, "optimizer": OPTIMIZER, "losses": {"train": torch.zeros(5)}},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "ema alone": lambda state: {"model_ema": prefixed(state, "module."), "epoch": 1},
    "within each other": lambda state: {"model": {"state_dict": prefixed(state, "module.")}},
    "beside another head": lambda state: {"model": state, "criterion": {"weight": torch.zeros(3, 4)}},
    "Lightning": lambda state: {
        **{"pytorch-lightning_version": "2.6.0", "callbacks": {"EMA": {"shadow": state}}},
        "state_dict": {**prefixed(state, "model."), "classification_head.weight": torch.zeros(10, 16)},
    },
    "OpenAI": lambda state: {
        **{"input_resolution": torch.tensor(32), "context_length": torch.tensor(16), "vocab_size": torch.tensor(49408)},
        **state,
    },
    "numbers of NumPy": lambda state: {
        **{"state_dict": state, "accuracy": [np.float64(0.5), np.float32(0.5)], "best": np.bool_(True)},
        **{"n": np.int64(3), "again": np.bool_(True), "half": np.float16(0.5)},
    },
    "a scale of one entry": lambda state: {**state, "logit_scale": state["logit_scale"].reshape(1)},
    "parameters": lambda state: {name: torch.nn.Parameter(value) for name, value in state.items()},
}


@pytest.mark.parametrize("form", WRAPPED)
def test_a_model_is_found_in_all_supported_formats(tmp_path, source, form):
    torch.save(WRAPPED[form](source), tmp_path / "weights.pt")
    model = tiny_backbone(2).model
    load_weights(model, tmp_path / "weights.pt")
    for name, value in model.model.state_dict().items():
        assert torch.equal(value, source[name]), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_are_converted_to_the_precision_of_the_model(tmp_path, source, dtype):
    torch.save({name: value.to(dtype) for name, value in source.items()}, tmp_path / "weights.pt")
    model = tiny_backbone(2).model
    load_weights(model, tmp_path / "weights.pt")
    for name, value in model.model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, source[name].to(dtype).float()), name


REFUSED = {
    "the weights of several models: model, model_ema; save": lambda state: {
        "model": state,
        "model_ema": state,
    },
    r"several models: state_dict, ema\.module; save": lambda state: {"state_dict": state, "ema": {"module": state}},
    r"several models, by the prefixes of their names: model\., ema_model\.;": lambda state: {
        **prefixed(state, "model."),
        **prefixed(state, "ema_model."),
    },
    "contains no weights, only epoch, optimizer; use": lambda state: {"epoch": 3, "optimizer": OPTIMIZER},
    "contains no weights, only nothing": lambda state: {},
    r"lacks logit_scale, .*; add it": lambda state: {k: v for k, v in state.items() if k != "logit_scale"},
    "contains logit_bias, which the backbone lacks; .*SigLIP": lambda state: {**state, "logit_bias": torch.zeros(())},
    "contains no text tower": lambda state: {name: value for name, value in state.items() if "visual" in name},
    "contains no image tower": lambda state: {name: value for name, value in state.items() if "visual" not in name},
}


@pytest.mark.parametrize("message", REFUSED)
def test_incomplete_or_several_models_raise_errors(tmp_path, source, message):
    torch.save(REFUSED[message](source), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=rf"^init_weights=.*weights\.pt: {message}|^init_weights=.*: .*{message}"):
        load_weights(tiny_backbone().model, tmp_path / "weights.pt")
