from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException

from tests.conftest import CONF
from tracer_lightning.config.swept_groups import allow_settings_of_swept_groups

SWEEP = ("-m", "experiment=pacs_flyp,pacs_tracer", "seed=0,1")


def allowed(*arguments):
    return allow_settings_of_swept_groups(arguments, Path(CONF), "train")


def test_settings_of_the_swept_options_are_marked():
    assert allowed(*SWEEP, "data.root=/images", "optimizer.lr=1e-3") == [
        *SWEEP,
        "++data.root=/images",
        "optimizer.lr=1e-3",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-m", "optimizer.lr=1e-3,1e-4", "data.batch_size=8"),
        ("-m", "method=flyp,tracer", "data.batch_size=8"),
        (*SWEEP, "+data.root=/images"),
    ],
)
def test_other_command_lines_stay_as_they_are(arguments):
    assert allowed(*arguments) == list(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        (*SWEEP, "data.rot=/images"),
        pytest.param(("-m", "experiment=pacs_flyp,digits", "data.root=/images"), marks=pytest.mark.slow),  # no root
    ],
)
def test_a_setting_must_exist_with_every_choice(arguments):
    with pytest.raises(ConfigCompositionException, match="Could not override 'data"):
        allowed(*arguments)


@pytest.mark.slow
def test_options_of_a_folder_of_ones_own(tmp_path):
    (tmp_path / "experiment").mkdir()
    for name in ("one", "two"):
        (tmp_path / "experiment" / f"{name}.yaml").write_text(
            f"# @package _global_\ndefaults:\n  - override /data: image_folder\nname: {name}\n"
        )
    sweep = ("-m", "experiment=one,two", "data.root=/images", "--config-dir", str(tmp_path))
    assert allowed(*sweep) == [*sweep[:2], "++data.root=/images", *sweep[3:]]
