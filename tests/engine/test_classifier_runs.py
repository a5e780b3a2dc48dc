"""Whole runs of the methods that have a head, or train nothing."""

import functools
import json
import subprocess
import sys

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image

from tests.commands import stand_ins
from tests.commands.helpers import composed, hydra_context, script
from tests.comparing import differences
from tests.conftest import tiny_backbone
from tests.engine.test_run import run_until
from tests.training_helpers import Trajectory
from tracer_lightning.commands.model_card import ExportedModel, model_card
from tracer_lightning.commands.train import run
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import build_data
from tracer_lightning.models import ClipModel

HEAD = ("head.weight", "head.bias")


def settings(tmp_path, *overrides):
    with hydra_context():
        return composed(tmp_path, *overrides)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and results of a short run, made when it is asked for."""

    @functools.cache
    def make(*overrides):
        folder = tmp_path_factory.mktemp("run")
        return folder / "run", run(settings(folder, *overrides))

    return make


def saved(folder, model="student"):
    """The parameters of a run's checkpoint."""
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    prefix = {"student": "student.", "teacher": "teacher.module."}[model]
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def start(tmp_path):
    """The weights that short runs begin with."""
    torch.manual_seed(0)
    return build_backbone(settings(tmp_path), None).model.state_dict()


def evaluated(tmp_path, *arguments):
    status, _, stderr = script("evaluate", *arguments, f"hydra.run.dir={tmp_path / 'evaluation'}")
    assert status == 0, stderr
    return json.loads((tmp_path / "evaluation/evaluation.json").read_text())


def assert_scores(actual, expected):
    for data_set, values in expected.items():
        for metric in ("accuracy", "ece", "macro_f1"):
            assert actual[data_set][metric] == pytest.approx(values[metric], abs=1e-6)


# -- image tower and head are trained ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_fine_tuning_leaves_the_text_tower_and_the_scale_as_they_were(finished, tmp_path):
    folder, results = finished("method=car_ft")
    before, after, frozen = start(tmp_path), saved(folder), saved(folder, "teacher")
    assert results["parameters"]["trained"] == sum(
        value.numel() for name, value in after.items() if ClipModel.part_of(name) in ("image", "head")
    )
    for name, value in before.items():
        assert torch.equal(after[name], value) != (ClipModel.part_of(name) == "image"), name
        assert torch.equal(frozen[name], value), name
    for name in HEAD:
        assert not torch.equal(after[name], frozen[name])
    assert results["student"] != results["zero_shot"]
    assert not frozen["head.bias"].any()


@pytest.mark.slow
def test_the_checkpoint_of_a_classifier_has_the_scores_of_its_run(finished, tmp_path):
    folder, results = finished("method=car_ft")
    scores = evaluated(tmp_path, f"checkpoint={folder}")
    for model in ("student", "teacher"):
        assert_scores(scores[model], results[model])
    assert_scores(scores["teacher"], results["zero_shot"])


@pytest.mark.slow
def test_a_classifier_may_be_evaluated_zero_shot(finished, tmp_path):
    folder, results = finished("method=car_ft")
    scores = evaluated(tmp_path, f"checkpoint={folder}", "heads=zero_shot")
    assert_scores(scores["teacher"], results["zero_shot"])
    assert scores["student"]["plain"]["ece"] != pytest.approx(results["student"]["plain"]["ece"], abs=1e-6)


@pytest.mark.slow
def test_the_card_of_a_classifier_tells_of_its_head_and_of_what_its_teacher_was(finished):
    folder, results = finished("method=car_ft")
    backbone = tiny_backbone()
    backbone.model.head = torch.nn.Linear(16, 10)
    exported = ExportedModel(backbone, "open_clip", "local-dir:x")
    card = model_card(folder / "checkpoints/last.ckpt", "teacher", {}, exported)
    for words in ("a classifier of 10 classes", "head.safetensors", "the teacher, the model before training."):
        assert words in card
    for scores in (results["zero_shot"], results["teacher"]):
        assert f"{100 * scores['avg_ood']['accuracy']:.1f}" in card


@pytest.mark.slow
def test_a_head_of_other_classes_than_the_data_is_named(finished, tmp_path):
    stand_ins.write(tmp_path, stand_ins.PACS)
    other_data = ["data=pacs", f"data.root={tmp_path}", f"data.cache_dir={tmp_path}/cache", "data.num_workers=0"]
    checkpoint = f"checkpoint={finished('method=lp')[0]}"
    status, _, stderr = script("evaluate", checkpoint, *other_data, f"hydra.run.dir={tmp_path}/evaluation")
    assert status == 1
    assert "error: the head of student has 10 classes and the data have 7; choose the data it was made for" in stderr
    assert "Traceback" not in stderr
    with pytest.raises(ValueError, match="model must have a head for 7 classes, as the data have, got 10"):
        run(
            settings(
                tmp_path, *other_data, "data.batch_size=4", "method=ft", "head=kept", f"init_weights={checkpoint[11:]}"
            )
        )


@pytest.mark.parametrize("method", ["ft", pytest.param("car_ft", marks=pytest.mark.exhaustive)])
def test_no_text_is_encoded_in_training(tmp_path, method):
    steps = []

    class RefuseTexts(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            def refuse(*_):
                raise AssertionError("a text was encoded")

            self.hook = pl_module.student.model.transformer.register_forward_pre_hook(refuse)

        def on_train_batch_end(self, trainer, *_):
            steps.append(trainer.global_step)
            self.hook.remove()

    cfg = settings(tmp_path, f"method={method}", "trainer.max_epochs=1", "trainer.limit_test_batches=1")
    results = run(cfg, callbacks=[RefuseTexts()])
    assert steps == [1, 2, 3, 4]
    assert results["student"]["plain"] != results["zero_shot"]["plain"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lipsum_ft", pytest.param("ft", marks=pytest.mark.exhaustive)])
def test_a_continued_classifier_ends_as_an_unbroken_one(finished, tmp_path, method):
    folder, results = finished(f"method={method}")
    run_until(settings(tmp_path, f"method={method}"), epochs=1)
    again = run(settings(tmp_path, f"method={method}", "resume=auto"))
    for model in ("zero_shot", "student", "teacher"):
        assert again[model] == results[model]
    unbroken, continued = (
        torch.load(path / "checkpoints/last.ckpt", weights_only=True) for path in (folder, tmp_path / "run")
    )
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert not differences(unbroken[part], continued[part], part)


@pytest.mark.slow
def test_another_head_or_another_part_is_no_continuation(finished, tmp_path):
    source = f"resume={finished('method=ft')[0]}"
    for setting, key in (("head=random", r"head\.name"), ("method.train=[head]", r"method\.train")):
        with pytest.raises(ValueError, match=f"{key}: this run has"):
            run(settings(tmp_path, "method=ft", source, setting))


@pytest.mark.slow
def test_accumulated_batches_see_the_anchors_of_their_step(tmp_path):
    steps = []

    class AnchorSteps(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            pl_module.anchors.register_forward_pre_hook(lambda anchors, arguments: steps.append(arguments[2]))

    run(settings(tmp_path, "method=lipsum_ft", "trainer.accumulate_grad_batches=2"), callbacks=[AnchorSteps()])
    assert steps == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.slow
def test_a_teacher_averages_the_head(tmp_path):
    path = Trajectory()
    results = run(settings(tmp_path, "method=ft", "teacher=wma", "kernel=uniform"), callbacks=[path])
    teacher = saved(tmp_path / "run", "teacher")
    assert len(path.points) == 9
    for name in (*HEAD, "model.visual.proj"):
        mean = torch.stack([point[name] for point in path.points]).mean(dim=0)
        torch.testing.assert_close(teacher[name].double(), mean, rtol=1e-5, atol=1e-6)
    assert results["teacher"] not in (results["student"], results["zero_shot"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "peft", ["lora", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("a_clip", "bitfit", "clip_adapter"))]
)
def test_parameter_efficient_fine_tuning_trains_image_tower_and_head(tmp_path, peft):
    results = run(settings(tmp_path, "method=ft", f"peft={peft}"))
    before, after = start(tmp_path), saved(tmp_path / "run")
    changed = {name for name, value in before.items() if name in after and not torch.equal(value, after[name])}
    assert all(ClipModel.part_of(name) == "image" for name in changed)
    assert 0 < results["parameters"]["trained"] < 0.02 * results["parameters"]["total"]
    assert after["head.bias"].any()
    assert_scores(evaluated(tmp_path, f"checkpoint={tmp_path / 'run'}")["student"], results["student"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "precision"),
    [
        ("lp_ft", "bf16-true"),
        ("lipsum_ft", "64-true"),
        *(
            pytest.param("car_ft", name, marks=pytest.mark.exhaustive)
            for name in ("bf16-true", "bf16-mixed", "64-true")
        ),
        *(pytest.param("lipsum_ft", name, marks=pytest.mark.exhaustive) for name in ("bf16-true", "bf16-mixed")),
        *(pytest.param("lp_ft", name, marks=pytest.mark.exhaustive) for name in ("bf16-mixed", "64-true")),
    ],
)
def test_every_precision_trains(finished, tmp_path, method, precision):
    results = run(settings(tmp_path, f"method={method}", f"trainer.precision={precision}"))
    expected = finished(f"method={method}")[1]["student"]["avg_ood"]["accuracy"]
    assert results["student"]["avg_ood"]["accuracy"] == pytest.approx(expected, abs=0.05)


STRANGER = """
import sys
import open_clip, torch
from PIL import Image
from safetensors.torch import load_file

folder, images, *labels = sys.argv[1:]
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
head = load_file(f"{folder}/head.safetensors")
with torch.no_grad():
    images = torch.stack([preprocess(Image.open(f"{images}/{n}.png")) for n in range(len(labels))])
    features = model.eval().encode_image(images, normalize=True)
    predicted = (features @ head["weight"].T + head["bias"]).argmax(dim=1)
assert not any(name.startswith("tracer_lightning") for name in sys.modules)
print((predicted == torch.tensor([int(label) for label in labels])).sum().item() / len(labels))
"""


@pytest.mark.slow
def test_an_exported_classifier_has_the_same_accuracy_for_one_who_knows_open_clip_alone(finished, tmp_path):
    folder, results = finished("method=ft")
    cfg, labels = settings(tmp_path), []
    data = build_data(cfg, build_backbone(cfg, None))
    for batch in data.eval_loader(next(eval_set for eval_set in data.eval_sets if eval_set.name == "small")):
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
            Image.fromarray(image.permute(1, 2, 0).numpy().astype(np.uint8)).save(tmp_path / f"{len(labels)}.png")
            labels.append(label)
    status, _, stderr = script("export", f"checkpoint={folder}", f"out={tmp_path / 'out'}")
    assert status == 0, stderr
    assert "head.safetensors" in (tmp_path / "out/README.md").read_text()
    command = [sys.executable, "-c", STRANGER, str(tmp_path / "out"), str(tmp_path), *map(str, labels)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) == results["student"]["small"]["accuracy"]


# -- nothing is trained, or the head alone -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_linear_probe_leaves_the_model_as_it_was(finished, tmp_path):
    folder, results = finished("method=lp")
    before, after = start(tmp_path), saved(folder)
    assert set(after) - set(before) == set(HEAD)
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 0
    assert results["parameters"]["trained"] == 0
    assert results["student"]["spurious"]["accuracy"] > results["zero_shot"]["spurious"]["accuracy"] + 0.2
    assert set(results["validation"]["spurious"]) >= {"accuracy", "ece", "macro_f1"}
    page = (folder / "report.html").read_text()
    assert "spurious" in page
    assert (folder / "results.json").exists()


@pytest.mark.slow
def test_the_checkpoint_of_a_probe_has_the_scores_of_its_run(finished, tmp_path):
    folder, results = finished("method=lp")
    assert_scores(evaluated(tmp_path, f"checkpoint={folder}")["student"], results["student"])


@pytest.mark.slow
def test_lp_ft_begins_at_the_probe(finished):
    probe = saved(finished("method=lp")[0])
    folder, results = finished("method=lp_ft", "teacher=frozen")
    first, last = saved(folder, "teacher"), saved(folder)
    for name in HEAD:
        assert torch.equal(first[name], probe[name])
        assert not torch.equal(last[name], probe[name])
    assert results["teacher"] == finished("method=lp")[1]["student"]


@pytest.mark.slow
def test_zero_shot_is_the_model_as_it_is(finished, tmp_path):
    results = run(settings(tmp_path, "method=zs"))
    assert results["student"] == results["zero_shot"]
    assert results["teacher"] is None
    assert results["parameters"]["trained"] == 0
    again = run(settings(tmp_path, "method=zs", "resume=auto"))
    assert again["student"] == results["student"]
    with pytest.raises(ValueError, match="holds a run already"):
        run(settings(tmp_path, "method=zs"))


@pytest.mark.slow
def test_a_head_is_kept_where_asked_and_else_left_behind_and_said(finished, tmp_path, capsys):
    folder, results = finished("method=lp")
    places = [tmp_path / name for name in ("kept", "left", "efficient")]
    for place in places:
        place.mkdir()
    begin = f"init_weights={folder}"
    run(settings(places[0], "method=ft", begin, "head=kept", "teacher=frozen"))
    assert "left behind" not in capsys.readouterr().out
    for name in HEAD:
        assert torch.equal(saved(places[0] / "run", "teacher")[name], saved(folder)[name])
    left = run(settings(places[1], "method=zs", begin))
    assert "the head of the initial weights is not used, because head=none; head=kept keeps it" in (
        capsys.readouterr().out
    )
    assert left["student"] == results["zero_shot"]
    assert not set(HEAD) & set(saved(places[1] / "run"))
    run(settings(places[2], "method=ft", begin, "head=kept", "peft=lora"))
    assert not torch.equal(saved(places[2] / "run")["head.weight"], saved(folder)["head.weight"])
