"""Drawing kernels as a user would, one of their own included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose

from tests.commands.helpers import hydra_context
from tests.conftest import CONF
from tracer_lightning.commands.kernels import draw_kernels
from tracer_lightning.kernels import UniformKernel


def triangle(progress):
    return 1.0 - abs(2.0 * progress - 1.0)


class Late:
    def __init__(self, begins: float):
        self.begins = begins

    def __call__(self, progress):
        return float(progress > self.begins)


def drawn(tmp_path, *overrides):
    with hydra_context():
        return draw_kernels(compose("kernels", overrides=["steps=200", f"out={tmp_path}", *overrides]))


@pytest.mark.slow
def test_all_kernels_of_the_package_and_the_users(tmp_path):
    shapes = drawn(
        tmp_path, "kernel=uniform", "kernel._target_=tests.commands.test_kernels.triangle", "+kernel._partial_=true"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kernels.png", "kernels.svg"]
    assert list(shapes)[-1] == "triangle"
    assert shapes["triangle"].start == pytest.approx(
        triangle(0.5 / 201) / sum(triangle((k + 0.5) / 201) for k in range(201))
    )
    assert {path.stem for path in (Path(CONF) / "kernel").iterdir()} == {"beta", "exponential", "polynomial", "uniform"}
    assert len(shapes) == 9
    assert b"triangle" in (tmp_path / "kernels.svg").read_bytes()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["kernels=null"], "kernels: there is none to draw"),
        (["steps=0"], "steps must be a whole number >= 1, found 0"),
        (["kernel=beta", "kernel.alpha=-1"], "kernel: alpha must be a finite number > 0"),
        (["kernel=uniform", f"kernel._target_={UniformKernel.__module__}.check_progress"], "kernel: "),
        (
            ["kernel=uniform", "kernel._target_=math.log", "+kernel._partial_=true"],
            "kernel must give finite weights >= 0",
        ),
        (["kernel=uniform", "kernel._target_=builtins.dict"], "kernel must be a function of progress"),
    ],
)
def test_mistakes(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        drawn(tmp_path, *overrides)


@pytest.mark.slow
def test_a_kernel_in_the_users_own_folders(tmp_path):
    """As docs/kernels.md says: a module on PYTHONPATH, a YAML below --config-dir."""
    (tmp_path / "conf/kernel").mkdir(parents=True)
    (tmp_path / "mine.py").write_text("def late(progress):\n    return progress > 0.8\n")
    (tmp_path / "conf/kernel/late.yaml").write_text("_target_: mine.late\n_partial_: true\n")
    root = Path(CONF).parent
    result = subprocess.run(
        [sys.executable, str(root / "scripts/kernels.py"), "--config-dir=conf", "kernel=late", "steps=100"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    (row,) = [line.split() for line in result.stdout.splitlines() if line.strip().startswith("late")]
    assert row[1:3] == ["0", "0"]
    assert float(row[3]) == pytest.approx(55, abs=5)  # ten of the last twenty
    assert (tmp_path / "outputs/kernels/kernels.png").is_file()
    assert not (tmp_path / "kernels.log").exists()
