import torch

from tests.conftest import tiny_backbone
from tracer_lightning.benchmarks import averaging
from tracer_lightning.benchmarks.averaging import COPY, OURS, copy_all, naive_update, traffic
from tracer_lightning.functional.averaging import lerp_
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.models.open_clip.export import export_clip
from tracer_lightning.teachers import WMATeacher


def test_the_naive_loop_averages():
    values = [torch.randn(3, 2, dtype=torch.double), torch.randn(4, dtype=torch.double)]
    naive, ours = ([torch.ones_like(value) for value in values] for _ in range(2))
    naive_update(naive, values, 0.25)
    lerp_(ours, values, 0.25 / 1.25)
    torch.testing.assert_close(naive, ours)
    copy_all(naive, values)
    torch.testing.assert_close(naive, values)


def test_bytes_are_those_of_the_trained_tensors():
    teacher = WMATeacher(torch.nn.Linear(3, 2), BetaKernel(0.5))
    assert traffic(teacher) == {OURS: 4 * (3 * 8 + 2 * 2), COPY: 4 * 2 * 8}  # a bias of 2 with its compensation


def test_the_timed_update_moves_the_teacher(tmp_path, monkeypatch):
    backbone = tiny_backbone()
    export_clip(backbone, tmp_path / "model")
    updates = []
    monkeypatch.setattr(
        WMATeacher, "update", lambda self, student, update=WMATeacher.update: updates.append(update(self, student))
    )
    result = averaging.measure(averaging.TeacherOptions(f"local-dir:{tmp_path}/model", rounds=2, accelerator="cpu"))
    assert len(updates) == 2 + 1  # counted, and before
    assert result["parameters"] == sum(p.numel() for p in backbone.model.parameters())
    assert result["seconds per step"]["10"] == result["seconds"][OURS]["median"] / 10
