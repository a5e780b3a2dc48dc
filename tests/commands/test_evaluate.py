"""Evaluating and exporting a real run, as a user would."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from omegaconf import OmegaConf, open_dict
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.commands.helpers import TINY, composed, hydra_context, script, slow
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.checkpoint import start_path
from tracer_lightning.data.digits.styles import STYLES

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def evaluated(finished_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated")
    place = f"hydra.run.dir={out}"
    status, stdout, stderr = script(
        "evaluate", f"checkpoint={finished_run.folder}", "temperature=val", "averages={easy:[plain,thin]}", place
    )
    assert status == 0, stderr
    return out, stdout


def test_a_run_brings_its_backbone_and_data_and_has_the_scores_that_it_ended_with(finished_run, evaluated):
    results = json.loads((evaluated[0] / "evaluation.json").read_text())
    for model in ("student", "teacher"):
        for style in STYLES:
            after = finished_run.results[model][style]
            assert {name: results[model][style][name] for name in after} == pytest.approx(after, abs=1e-6)
        assert "ece_per_batch" in results[model]["plain"]
        parts = [results[model][style]["accuracy"] for style in ("plain", "thin")]
        assert results[model]["easy"]["accuracy"] == pytest.approx(sum(parts) / 2)
    assert len(results["student"]["avg_ood"]["sets"]) == 9


def test_the_temperature_is_fitted_on_the_split_named_and_reported_apart(evaluated):
    results = json.loads((evaluated[0] / "evaluation.json").read_text())
    fitted = results["temperature"]["student"]
    assert fitted["fitted_on"] == "spurious-val"
    assert results["student"]["spurious-val"]["role"] == "val"
    assert set(fitted["ece"]) == {"spurious-val", *STYLES}
    assert fitted["temperature"] > 0
    assert "temperature" in evaluated[1]


def test_every_class_is_in_a_table_and_every_set_in_a_picture(evaluated):
    with (evaluated[0] / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 11 * 10
    results = json.loads((evaluated[0] / "evaluation.json").read_text())
    mine = [row for row in rows if row["model"] == "teacher" and row["data_set"] == "small"]
    right, n = (sum(int(row[key]) for row in mine) for key in ("correct", "n"))
    assert right / n == results["teacher"]["small"]["accuracy"]
    for model in ("student", "teacher"):
        assert Image.open(evaluated[0] / f"reliability-{model}.png").width > 500
        assert "blurred" in (evaluated[0] / f"reliability-{model}.svg").read_text()
    for word in ("worst", "best", "top5", "ECE/batch", "easy"):
        assert word in evaluated[1]


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported")
    for model in ("student", "teacher"):
        status, _, stderr = script(
            "export", f"checkpoint={finished_run.folder}", f"model={model}", f"out={out / model}"
        )
        assert status == 0, stderr
    return out


STRANGER = """
import json, sys
import open_clip, torch
from PIL import Image

folder, images = sys.argv[1:]
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
model.eval()
task = json.load(open(f"{images}/task.json"))
with torch.no_grad():
    head = []
    for name in task["names"]:
        texts = model.encode_text(tokenize([t.replace("{c}", name) for t in task["templates"]]), normalize=True)
        head.append(torch.nn.functional.normalize(texts.mean(dim=0), dim=0))
    images = torch.stack([preprocess(Image.open(f"{images}/{n}.png")) for n in range(len(task["labels"]))])
    predicted = (model.encode_image(images, normalize=True) @ torch.stack(head).T).argmax(dim=1)
assert not any(name.startswith("tracer_lightning") for name in sys.modules)
print((predicted == torch.tensor(task["labels"])).sum().item() / len(task["labels"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["student", pytest.param("teacher", marks=pytest.mark.exhaustive)])
def test_an_export_has_the_same_accuracy_for_one_who_knows_open_clip_alone(finished_run, exported, tmp_path, model):
    with hydra_context():
        cfg = composed(tmp_path)
        from tracer_lightning.config.backbones import build_backbone
        from tracer_lightning.config.build import build_data

        data = build_data(cfg, build_backbone(cfg, None))
    eval_set = next(eval_set for eval_set in data.eval_sets if eval_set.name == "small")
    labels = []
    for batch in data.eval_loader(eval_set):
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
            if label >= 0:
                Image.fromarray(image.permute(1, 2, 0).numpy().astype(np.uint8)).save(tmp_path / f"{len(labels)}.png")
                labels.append(label)
    task = {"names": list(data.classnames), "templates": list(data.templates), "labels": labels}
    (tmp_path / "task.json").write_text(json.dumps(task))
    (tmp_path / "stranger.py").write_text(STRANGER)
    command = [sys.executable, str(tmp_path / "stranger.py"), str(exported / model), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) == finished_run.results[model]["small"]["accuracy"]


@pytest.mark.slow
def test_an_export_can_be_evaluated_and_exported_features_are_the_same(finished_run, exported, tmp_path):
    from tracer_lightning.models import build_clip, load_clip, load_weights

    with hydra_context():
        cfg = composed(tmp_path)
    options = {name: value for name, value in cfg.backbone.items() if name != "_target_"}
    ours, theirs = build_clip(**options).model, load_clip(f"local-dir:{exported / 'teacher'}")
    load_weights(ours, finished_run.folder, teacher=True)
    images, texts = torch.randn(3, 3, 32, 32), theirs.spec.tokenize(["one", "two", "three"])
    pairs = zip(ours.eval().encode(images, texts), theirs.model.eval().encode(images, texts), strict=True)
    for ours_features, their_features in pairs:
        assert torch.equal(ours_features, their_features)
    status, _, stderr = script("evaluate", f"checkpoint={exported / 'teacher'}", f"hydra.run.dir={tmp_path}")
    assert status == 0, stderr
    results = json.loads((tmp_path / "evaluation.json").read_text())
    assert results["model"]["plain"]["accuracy"] == finished_run.results["teacher"]["plain"]["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_run_starts_from_an_export_as_from_the_checkpoint(finished_run, exported, tmp_path, prefix):
    with hydra_context():
        cfg = composed(tmp_path)
        start = start_path(f"{prefix}{exported / 'student'}")
        backbone = build_backbone(cfg, start)
        expected = build_backbone(cfg, start_path(str(finished_run.folder)))
    for name, value in backbone.model.state_dict().items():
        assert torch.equal(value, expected.model.state_dict()[name]), name
    with open_dict(cfg):
        cfg.backbone.quick_gelu = True
    with pytest.raises(ValueError, match=r"init_weights=.*of a model with quick_gelu=False, and the backbone has True"):
        build_backbone(cfg, start)


@pytest.mark.parametrize("name", ["ViT-B-32/openai", "hf-hub:me/mine"])
def test_a_run_does_not_start_from_the_name_of_a_model(name):
    with pytest.raises(ValueError, match=r"the name of a model, and no file; choose it as backbone\.name="):
        start_path(name)


@pytest.mark.slow
def test_merged_weights_are_exported_with_the_backbone_that_they_are_of(finished_run, exported, tmp_path):
    student_weights, teacher_weights = (
        load_file(exported / model / "open_clip_model.safetensors") for model in ("student", "teacher")
    )
    merged = {
        name: (value.double() + teacher_weights[name].double()).div(2).to(value.dtype)
        for name, value in student_weights.items()
    }
    save_file(merged, tmp_path / "merged.safetensors")
    sizes = [text for text in TINY if text.startswith("backbone.")]
    out = tmp_path / "out"
    status, _, stderr = script("export", f"checkpoint={tmp_path}/merged.safetensors", *sizes, f"out={out}")
    assert status == 0, stderr
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{out}")
    assert torch.equal(model.visual.proj, merged["visual.proj"])


def test_the_card_tells_what_the_model_is(finished_run, exported):
    card = (exported / "teacher" / "README.md").read_text()
    accuracy = 100 * finished_run.results["teacher"]["avg_ood"]["accuracy"]
    for words in ("teacher", "tracer", "| avg_ood | mean |", f"{accuracy:.1f}", "local-dir:", "WMATeacher"):
        assert words in card


def test_an_export_has_the_class_names_of_the_run_and_its_licence(finished_run, exported, tmp_path):
    texts = json.loads((exported / "teacher/classes.json").read_text())
    assert texts == json.loads((finished_run.folder / "classes.json").read_text())
    assert len(texts["classnames"]) == 10
    card = (exported / "teacher" / "README.md").read_text()
    assert "the 10 classes" in card
    assert "Evaluated in fp32." in card
    assert "license:" not in card
    out = tmp_path / "out"
    status, _, stderr = script("export", f"checkpoint={exported / 'teacher'}", f"out={out}", "license=mit")
    assert status == 0, stderr
    assert '\nlicense: "mit"\n' in (out / "README.md").read_text()
    assert json.loads((out / "classes.json").read_text()) == texts


@pytest.mark.slow
def test_an_export_to_onnx_predicts_what_the_run_predicts(finished_run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "onnx"
    status, stdout, stderr = script("export", f"checkpoint={finished_run.folder}", f"out={out}", "format=onnx")
    assert status == 0, stderr
    card = (out / "README.md").read_text()
    assert "pipeline_tag: zero-shot-image-classification" in card
    comparison = "predict the same class for 256 of 256 test images of spurious"
    assert comparison in stdout
    assert comparison in card
    with hydra_context():
        cfg = composed(tmp_path)
        from tracer_lightning.config.backbones import build_backbone
        from tracer_lightning.config.build import build_data

        data = build_data(cfg, build_backbone(cfg, None))
    session = onnxruntime.InferenceSession(str(out / "image.onnx"), providers=["CPUExecutionProvider"])
    right = n = 0
    for batch in data.eval_loader(next(eval_set for eval_set in data.eval_sets if eval_set.name == "small")):
        _, logits = session.run(None, {"pixels": (batch.images.float() / 255).numpy()})
        counted = batch.labels >= 0
        right += int((torch.from_numpy(logits.argmax(1)) == batch.labels)[counted].sum())
        n += int(counted.sum())
    assert right / n == finished_run.results["student"]["small"]["accuracy"]


@pytest.mark.slow
def test_where_the_test_images_are_gone_an_export_to_onnx_is_compared_on_noise(finished_run, tmp_path):
    pytest.importorskip("onnxruntime")
    content = torch.load(finished_run.folder / "checkpoints/last.ckpt", weights_only=True)
    with hydra_context():
        gone = composed(tmp_path, "data=image_folder", f"data.root={tmp_path}/gone")
    content["hyper_parameters"]["data"] = OmegaConf.to_container(gone.data, resolve=True)
    torch.save(content, tmp_path / "moved.ckpt")
    out = tmp_path / "onnx"
    status, stdout, stderr = script("export", f"checkpoint={tmp_path}/moved.ckpt", f"out={out}", "format=onnx")
    assert status == 0, stderr
    assert "compared on noise, and not on the run's test images: " in stdout
    assert f"{tmp_path}/gone" in stdout
    assert "On noise, features of ONNX Runtime and PyTorch differ by at most " in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("evaluate", ["checkpoint=nowhere"], "error: checkpoint=nowhere: no such file"),
        slow(
            "evaluate",
            ["checkpoint={run}", "models=[before]"],
            "error: models must be null or some of student, teacher",
        ),
        ("evaluate", ["checkpoint={run}", "temperature=x"], "error: temperature must be null or one of val, spurious"),
        slow("evaluate", ["checkpoint={run}", "averages={a:[x]}"], "averages.a must list some of spurious"),
        ("evaluate", ["checkpoint=ViT-B-16"], "error: checkpoint=ViT-B-16: give a tag, too"),
        ("evaluate", ["checkpoint={run}", "suite=pacs"], "error: suite names test sets of shards"),
        slow("evaluate", ["checkpoint={run}", "heads=both"], "error: heads must be own or zero_shot, found 'both'"),
        ("export", ["checkpoint={run}"], "error: out is not set and has no default; give it as out=VALUE"),
        ("export", ["checkpoint={run}", "out={run}"], "exists already; choose another place"),
        slow(
            "export", ["checkpoint={run}", "out={run}/results.json/x"], "results.json is a file; choose another place"
        ),
        slow("export", ["checkpoint={run}", "out=x", "model=both"], "error: model must be student or teacher"),
        (
            "export",
            ["checkpoint={run}", "out=x", "format=jax"],
            "error: format must be null or one of open_clip, transformers, onnx, found 'jax'",
        ),
        slow("export", ["out=x"], "error: checkpoint is not set; give a run"),
        ("export", ["out=x", "push=me/mine"], "error: out=x: no finished export"),
    ],
)
def test_mistakes_are_one_line(finished_run, tmp_path, name, arguments, message):
    place = [f"hydra.run.dir={tmp_path}"] if name == "evaluate" else []
    status, _, stderr = script(name, *(text.replace("{run}", str(finished_run.folder)) for text in arguments), *place)
    assert status == 1
    assert message in stderr
    assert "Traceback" not in stderr


class Hub:
    """What is asked of the hub."""

    def __init__(self, calls):
        self.calls = calls

    def create_repo(self, repository, private, exist_ok):
        self.calls.append((repository, private))

    def upload_folder(self, repo_id, folder_path, commit_message):
        self.calls.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))


def test_an_export_is_pushed_where_asked(finished_run, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("tracer_lightning.commands.export.HfApi", lambda: Hub(calls))
    out = tmp_path / "out"
    status, stdout, stderr = script("export", f"checkpoint={finished_run.folder}", f"out={out}", "push=me/mine")
    assert status == 0, stderr
    assert calls == [
        ("me/mine", True),
        ("me/mine", ["README.md", "classes.json", "open_clip_config.json", "open_clip_model.safetensors"]),
    ]
    assert "hf-hub:me/mine" in stdout
    assert "hf-hub:me/mine" in (out / "README.md").read_text()
    status, stdout, stderr = script("export", f"out={out}", "push=you/yours", "private=false")
    assert status == 0, stderr
    assert calls[2:] == [("you/yours", False), ("you/yours", calls[1][1])]


def test_a_push_that_fails_is_one_line_and_loses_nothing(finished_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    out = tmp_path / "out"
    status, _, stderr = script("export", f"checkpoint={finished_run.folder}", f"out={out}", "push=me/mine")
    assert status == 1
    assert "error: push=me/mine: " in stderr
    assert (out / "open_clip_model.safetensors").is_file()
