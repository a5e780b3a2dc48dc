"""An export is there as a whole or not at all, and its card is no more than text."""

import json
import re
import signal
from types import MappingProxyType

import pytest
import torch
import yaml

from tests.config.test_untrusted import TINY_BACKBONE
from tests.conftest import tiny_backbone
from tests.faults.children import in_a_child
from tests.faults.events import kill_before
from tests.fuzzing.running import ENTRIES, attempt, entry
from tests.storage.killed import killed_while
from tests.storage.mounts import mounted
from tracer_lightning.commands.model_card import ExportedModel, model_card
from tracer_lightning.evaluation import ErrorSuite, RetrievalSuite
from tracer_lightning.evaluation.retrieval import RETRIEVAL
from tracer_lightning.storage import atomic_folder
from tracer_lightning.types import ClassTexts

SCRIPT = "scripts/export.py"
NAMES = ["README.md", "open_clip_config.json", "open_clip_model.safetensors"]


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Exports weights to a place; how that ended."""
    monkeypatch.chdir(tmp_path)
    torch.save(tiny_backbone().model.model.state_dict(), tmp_path / "weights.pt")
    module = entry(SCRIPT)

    def run(out):
        return attempt(module, ["checkpoint=weights.pt", f"out={out}", *TINY_BACKBONE], **ENTRIES[SCRIPT])

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_a_killed_export_is_repeated_by_the_same_command(tmp_path, export):
    assert export("whole").verdict == "ran"
    for number in (3, 9):

        def killed(number=number):
            kill_before(number, tmp_path)
            export("exports/mine")

        assert in_a_child(killed, tmp_path / "log.txt") == signal.SIGKILL
        assert not (tmp_path / "exports/mine").exists()
    assert export("exports/mine").verdict == "ran"
    assert names(tmp_path / "exports") == ["mine"]
    assert names(tmp_path / "exports/mine") == NAMES
    for name in NAMES[1:]:
        assert (tmp_path / "exports/mine" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "exists already" in export("exports/mine").message


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, export):
    with mounted(tmp_path / "disk", "300k") as disk:
        outcome = export("disk/mine")
        assert outcome.verdict == "refused", outcome
        assert re.search("No space left on device: '.*disk/mine/open_clip_model.safetensors'", outcome.message)
        assert names(disk) == []
        assert "choose a folder within it" in export("disk").message


def test_an_export_that_is_being_written_is_left_alone(tmp_path, export):
    killed_while(atomic_folder(tmp_path / "mine"))
    with atomic_folder(tmp_path / "other") as partial:
        (partial / "file").touch()
        assert export("mine").verdict == "ran"
        assert partial.exists()
    assert {"mine", "other"} < set(names(tmp_path))


EVIL = "x]\n---\n# h `|` <script> ![i](http://evil) | y"


def hostile_run(folder, changed=None, **results):
    checkpoint = folder / "checkpoints/last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    settings = {
        "name": EVIL,
        "seed": EVIL,
        "method": {"name": EVIL, "strength": EVIL},
        "teacher": {"module": {"_target_": "a.WMATeacher"}, "every_n_steps": EVIL},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": EVIL, "weight_decay": EVIL},
        "data": {"batch_size": EVIL},
        "trainer": {"precision": EVIL},
        "backbone": {"name": EVIL, "pretrained": EVIL},
    }
    torch.save({"state_dict": {}, "hyper_parameters": settings | (changed or {}), "global_step": 1}, checkpoint)
    scores = {EVIL: {"role": EVIL, "n": EVIL, "accuracy": 0.5, "ece": 0.1, "macro_f1": 0.2}}
    content = {"zero_shot": scores, "student": scores, "versions": {EVIL: EVIL}, **results}
    (folder / "results.json").write_text(json.dumps(content))
    return checkpoint


def test_whatever_a_run_is_called_its_card_has_the_same_structure(tmp_path):
    checkpoint = hostile_run(tmp_path)
    texts = ClassTexts((EVIL, "1. x", "# y"), (f"{EVIL}{{c}}",))
    exported = ExportedModel(tiny_backbone(), "open_clip", 'local-dir:"a\n```', texts, EVIL, EVIL)
    card = model_card(checkpoint, "student", {"name": EVIL}, exported)
    assert [line for line in card.splitlines() if line.startswith("---")] == ["---", "---"]
    assert yaml.safe_load(card.split("\n---\n")[0])["tags"][:2] == ["clip", "robust-fine-tuning"]
    headings = [line for line in card.splitlines() if line.startswith("#")]
    assert [line.split()[0] for line in headings] == ["#", "##", "##", "##", "##"]
    assert card.count("\n```") == 2
    plain = re.sub(r"(`+)[^`].*?\1|\\.", "", card.split("\n---\n")[1])  # without code, and what is escaped
    assert not re.search(r"<|!\[|\]\(|\*", plain)
    rows = [line for line in card.splitlines() if line.startswith("|")]
    cells = {line.replace("\\|", "").count("|") for line in rows}
    assert cells == {3, 10}


def card_of(checkpoint, settings=MappingProxyType({}), **exported):
    backbone = exported.pop("backbone", None) or tiny_backbone()
    return model_card(checkpoint, "student", settings, ExportedModel(backbone, "open_clip", "local-dir:x", **exported))


LABELLED = {"role": "other", "n": 9, "accuracy": 0.5, "ece": 0.1, "macro_f1": None}
MEAN = {"sets": ["pets"], "accuracy": 0.5, "ece": 0.1, "macro_f1": None}
CAPTIONED = {"role": "id", "n": 8, **{metric.name: 0.25 if metric.percent else 2.5 for metric in RETRIEVAL}}
MEDIANS = [metric._replace(shown=not metric.percent) for metric in RETRIEVAL]
RECALLS_ROW, LABELLED_CELLS = f"| far | id | 8 |{' 25.0 |' * 6}", "| 50.0 | 50.0 | 10.0 | 10.0 | – | – |"


@pytest.mark.parametrize(
    ("metrics", "scores", "tables"),
    [
        (RetrievalSuite.metrics, {"far": CAPTIONED}, [[RECALLS_ROW]]),
        (
            RetrievalSuite.metrics,
            {"far": CAPTIONED, "pets": LABELLED, "avg_other": MEAN},
            [[RECALLS_ROW], [f"| pets | other | 9 {LABELLED_CELLS}", f"| avg_other | mean |  {LABELLED_CELLS}"]],
        ),
        (MEDIANS, {"far": CAPTIONED}, [["| far | id | 8 | 2.5 | 2.5 | 2.5 | 2.5 |"]]),
        (
            ErrorSuite.metrics,
            {"pets": {**LABELLED, "error": 0.5, "macro_f1_error": None}},
            [[f"| pets | other | 9 | 50.0 | 50.0 | – | – {LABELLED_CELLS}"]],
        ),
    ],
)
def test_a_card_has_a_table_for_each_kind_of_data_set(tmp_path, metrics, scores, tables):
    declared = {metric.name: metric.declaration() for metric in metrics}
    checkpoint = hostile_run(tmp_path, zero_shot=scores, student=scores, metrics=declared)
    card = card_of(checkpoint)
    blocks = card.partition("## Results")[2].partition("## Training")[0].split("\n\n")
    rows = [[line.rstrip() for line in block.splitlines()[2:]] for block in blocks if block.startswith("|")]
    assert rows == tables
    assert ("ECE is" in card) == ("pets" in scores)


@pytest.mark.parametrize("results", [{"student": [1]}, {"student": {"a": 1}}, {"zero_shot": {}}, {"versions": 3}])
def test_results_that_no_run_writes_are_one_line(tmp_path, results):
    with pytest.raises(ValueError, match="is not a valid file of a run"):
        card_of(hostile_run(tmp_path, **results))


def test_a_card_says_how_images_are_prepared(tmp_path):
    card = " ".join(card_of(None).split())
    assert "resized to 32 pixels on their shorter side, of which the middle 32 x 32 are used (bicubic" in card
    assert "the mean 0.5, 0.5, 0.5 and the standard deviation 0.5, 0.5, 0.5 of each channel" in card
    squashed = tiny_backbone()._replace(spec=tiny_backbone().spec._replace(resize_mode="squash"))
    assert "resized to 32 x 32 pixels" in card_of(None, backbone=squashed)
    assert "parameters are in float32" in card


def test_a_card_lists_the_classes_by_their_rows_and_the_templates(tmp_path):
    backbone = tiny_backbone()
    backbone.model.head = torch.nn.Linear(16, 60)
    texts = ClassTexts(tuple(f"bird {number}" for number in range(60)), ("a photo of a {c}.",))
    card = card_of(None, backbone=backbone, texts=texts)
    assert "the 60 classes, in the order of the head's rows" in card
    assert "\n0. bird 0\n1. bird 1\n" in card
    assert "\n49. bird 49\n\n(10 more are in `classes.json`.)\n" in card
    assert "\n- `a photo of a {c}.`\n" in card


NO_HUB, LAION = {"name": "mine", "pretrained": "a/weights.pt"}, {"name": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}


@pytest.mark.parametrize(
    ("settings", "start", "name", "repository"),
    [
        ({"backbone": LAION}, None, "ViT-B-32/laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ({"backbone": {"name": "hf-hub:me/mine"}}, None, "me/mine", "me/mine"),
        ({"backbone": NO_HUB}, None, "mine/weights.pt", None),
        ({"backbone": LAION, "init_weights": "runs/first"}, "/home/me/runs/first/checkpoints/last.ckpt", "first", None),
        ({"backbone": LAION, "init_weights": "runs/first"}, None, "first", None),
        ({"backbone": {}, "prerequisite": {"experiment": "digits_pretrain"}}, None, "digits_pretrain", None),
    ],
)
def test_a_card_names_the_base_model(tmp_path, settings, start, name, repository):
    card = card_of(hostile_run(tmp_path, settings, start=start))
    assert f"| base model | {name} |" in card
    assert yaml.safe_load(card.split("\n---\n")[0]).get("base_model") == repository


def test_the_card_of_a_published_model_names_its_weights():
    assert "with the weights `ViT-B-32/laion2b_s34b_b79k`." in " ".join(card_of(None, LAION).split())
