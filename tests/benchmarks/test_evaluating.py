"""The plain evaluation has the results of the application, as a fair comparison needs."""

import pytest

from tests.conftest import tiny_backbone
from tracer_lightning.benchmarks import evaluating
from tracer_lightning.benchmarks.evaluating import OURS, PLAIN, BenchmarkSuite, EvaluationOptions
from tracer_lightning.data.images.transforms import EvalCrop
from tracer_lightning.models.open_clip.export import export_clip

SUITE = BenchmarkSuite(sets=2, images=10, classes=7, templates=3)


@pytest.fixture
def candidates(tmp_path):
    export_clip(tiny_backbone(), tmp_path / "model")
    model = f"local-dir:{tmp_path / 'model'}"
    options = EvaluationOptions(model, SUITE, 4, num_workers=0, rounds=1, accelerator="cpu", precision="32-true")
    return evaluating.candidates(tmp_path / "suite", options, decoder="pil")


def test_plain_evaluation_is_ours(candidates):
    ours, plain = candidates[OURS](), candidates[PLAIN]()
    assert list(plain) == ["student", "teacher"]
    for model, sets in plain.items():
        assert list(sets) == SUITE.names
        for name, scores in sets.items():
            actual = {metric: ours[model][name][metric] for metric in scores}
            assert actual == pytest.approx(scores, abs=1e-6)
    assert ours["student"]["set0"]["ece"] != ours["teacher"]["set0"]["ece"]


def test_each_image_is_decoded_once_for_all_models(candidates, monkeypatch):
    decoded = []
    decode = EvalCrop.__call__
    monkeypatch.setattr(EvalCrop, "__call__", lambda self, data, rng: decoded.append(data) or decode(self, data, rng))
    assert set(candidates[OURS]()) == {"student", "teacher"}
    assert len(decoded) == len(set(decoded)) == SUITE.sets * SUITE.images
