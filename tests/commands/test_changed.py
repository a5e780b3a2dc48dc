"""What a real run forgot and learned, in its report and by the command."""

import json
import re

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from tests.callbacks.test_report import assert_complete_in_itself
from tests.commands.helpers import EVERY_ENTRY, composed, hydra_context, script
from tracer_lightning.commands.train import run
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.validate import validate
from tracer_lightning.evaluation.changes import FORGOTTEN, LEARNED
from tracer_lightning.evaluation.logits import check_head
from tracer_lightning.reporting.changed import KINDS

IMAGES = 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run with images in its report."""
    folder = tmp_path_factory.mktemp("changed")
    with hydra_context():
        torch.manual_seed(3)
        start = folder / "start.safetensors"
        save_file(build_backbone(composed(folder), None).model.model.state_dict(), start)
        run(
            composed(
                folder,
                "method=flyp",
                f"init_weights={start}",
                f"callbacks.report.images={IMAGES}",
                "trainer.max_epochs=1",
            )
        )
    return folder / "run"


def changes_by_scores(results, name):
    """How many more were learned than forgotten."""
    before, after = results["zero_shot"][name], results["student"][name]
    return round((after["accuracy"] - before["accuracy"]) * before["n"])


@pytest.mark.slow
def test_the_report_shows_what_changed(finished):
    html = (finished / "report.html").read_text()
    page = assert_complete_in_itself(html)
    results = json.loads((finished / "results.json").read_text())
    section = html.partition('<h2 id="images">')[2].partition("</section>")[0]
    cards = section.split('<div class="card">')[1:]
    assert cards
    for card in cards:
        name = re.search(r"<h3>(\w+)<", card)[1]
        counts = {}
        for kind, title in KINDS.items():
            match = re.search(rf"{title} \((\d+) of ([\d,]+)\)", card)
            counts[kind] = int(match[2].replace(",", "")) if match else 0
            assert not match or int(match[1]) == min(IMAGES, counts[kind])
        assert counts[LEARNED] - counts[FORGOTTEN] == changes_by_scores(results, name)
    shown = sum(min(IMAGES, int(n.replace(",", ""))) for n in re.findall(r"\(\d+ of ([\d,]+)\)</h4>", section))
    images = page.all("img")
    assert len(images) == 3 * shown > 0
    assert all(image["src"].startswith("data:image/jpeg;base64,") and image["alt"] for image in images)


@pytest.mark.slow
def test_towers_without_maps_are_shown_without(finished, tmp_path, monkeypatch):
    """A report must not fail for that."""

    def refuse(*_):
        raise ValueError("a TimmModel has no maps")

    monkeypatch.setattr("tracer_lightning.callbacks.change_watch.by_tower", refuse)
    start = finished.parent / "start.safetensors"
    with hydra_context():
        run(
            composed(
                tmp_path, "method=flyp", f"init_weights={start}", "callbacks.report.images=1", "trainer.max_epochs=1"
            )
        )
    page = assert_complete_in_itself((tmp_path / "run/report.html").read_text())
    assert "There are no maps: a TimmModel has no maps." in page.words
    assert 0 < len(page.all("img")) <= 2 * 10
    assert {image["alt"] for image in page.all("img")} == {"the image"}


@pytest.mark.slow
def test_the_command_end_to_end(finished, tmp_path):
    out = tmp_path / "out"
    status, stdout, stderr = script("changed", f"checkpoint={finished}", "images=2", f"hydra.run.dir={out}")
    assert status == 0, stderr
    changes = json.loads((out / "changed.json").read_text())
    results = json.loads((finished / "results.json").read_text())
    assert changes["start"] == results["start"]
    for name, values in changes["sets"].items():
        counts, n = values["counts"], values["n"]
        assert sum(counts.values()) == n == results["student"][name]["n"]
        right = {
            "zero_shot": counts["right_right"] + counts[FORGOTTEN],
            "student": counts["right_right"] + counts[LEARNED],
        }
        assert {model: results[model][name]["accuracy"] for model in right} == {m: r / n for m, r in right.items()}
        for kind, images in values["images"].items():
            assert len(images) == min(2, counts[kind])
            for image in images:
                right_one, wrong_one = ("before", "after") if kind == FORGOTTEN else ("after", "before")
                assert image[right_one]["class"] == image["class"] != image[wrong_one]["class"]
                assert image[right_one]["probability"] == image[right_one]["probability_of_truth"]
    assert {path.name for path in out.iterdir()} >= {"changed.png", "changed_maps.png"}
    assert Image.open(out / "changed_maps.png").size[0] > Image.open(out / "changed.png").size[0]
    assert "right → wrong" in " ".join(stdout.split()) or "wrong" in stdout


def test_a_head_of_other_classes_is_refused(backbone):
    backbone.model.head = nn.Linear(16, 3)
    check_head("student", backbone.model, 3)
    with pytest.raises(ValueError, match="the head of student has 3 classes and the data have 4"):
        check_head("student", backbone.model, 4)


def test_more_images_than_fit_are_refused():
    settings = {
        **EVERY_ENTRY,
        "images": 20,
        "maps": None,
        "model": "student",
        "checkpoint": "a",
        "start": None,
    }
    validate(OmegaConf.create(settings), "changed")
    with pytest.raises(ValueError, match="images must be at most 20"):
        validate(OmegaConf.create({**settings, "images": 21}), "changed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["images=0"], "error: images must be a whole number >= 1, found 0\n"),
        (["model=pupil"], "error: model must be student or teacher, found 'pupil'\n"),
        (["model=teacher"], "holds none; choose model=student\n"),
        (["start=gone.ckpt"], "error: start=gone.ckpt: no such file"),
        (["maps=heat"], "error: maps=heat: there is no such maps; choose one of by_tower, grad_cam, none, rollout\n"),
    ],
)
def test_mistakes_are_one_line(finished, tmp_path, arguments, message):
    status, _, stderr = script("changed", f"checkpoint={finished}", *arguments, f"hydra.run.dir={tmp_path}")
    assert status == 1
    assert message in stderr
    assert stderr.count("\n") == 1
