"""Types of settings."""

import re

import pytest
from omegaconf import OmegaConf

from tracer_lightning.config.type_checks import check_values

ADAMW, LORA = "tracer_lightning.functional.optimizers.AdamW", "tracer_lightning.models.peft.add_lora"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": ADAMW, "lr": float("inf")}, "group.lr must be finite, found inf"),
        ({"_target_": ADAMW, "betas": [0.9, float("nan")]}, "group.betas must be finite, found [0.9, nan]"),
        ({"_target_": LORA, "scale": float("nan")}, "group.scale must be finite, found nan"),
        ({"nested": {"_target_": ADAMW, "eps": -float("inf")}}, "group.nested.eps must be finite, found -inf"),
        ({"_target_": LORA, "scale": True}, "group.scale must be of type float, found True"),
    ],
)
def test_values_that_are_no_numbers_raise_errors(node, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_values(OmegaConf.create(node), "group")
