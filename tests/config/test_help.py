"""What ``--help`` says of settings."""

import re

import pytest

from tests.commands.helpers import hydra_context
from tracer_lightning.config.help import command_options


@pytest.mark.parametrize(
    ("command", "setting", "end"),
    [
        ("embed", "images=null", "a .npy file of samples (N, C, L) or (N, C, H, W)"),
        ("export", "format=null", "null for that of the model's family, which is open_clip for CLIP models"),
    ],
)
def test_descriptions_of_two_lines_are_whole(command, setting, end):
    with hydra_context():
        options = command_options(command)
    assert re.search(rf"^  {setting} .*{re.escape(end)}$", options, re.MULTILINE)
