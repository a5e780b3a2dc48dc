"""Comparing real runs with what they started from, as a user would."""

import csv
import json
import os
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save_file

from tests.commands.helpers import EVERY_ENTRY, TINY, composed, hydra_context
from tests.commands.test_evaluate import ROOT, script
from tests.evaluation.test_similarity import matrix
from tests.functional.test_representations import alignment, svcca
from tests.test_distributed import succeeded
from tracer_lightning.commands.similarity import check_same_inputs
from tracer_lightning.commands.train import run
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import build_data
from tracer_lightning.config.validate import validate

SIZES = [text for text in TINY if text.startswith("backbone.")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Weights, and the folder of a run that started from them: its student has moved, its teacher half as far."""
    root = tmp_path_factory.mktemp("finished")
    with hydra_context():
        cfg = composed(root)
        torch.manual_seed(3)
        model = build_backbone(cfg, None).model
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    save_file({name.removeprefix("model."): value for name, value in weights.items()}, root / "start.safetensors")
    moves = {name: 0.02 * torch.randn_like(value) for name, value in weights.items()}
    state = {f"student.{name}": value + moves[name] for name, value in weights.items()}
    state |= {f"teacher.module.{name}": value + 0.5 * moves[name] for name, value in weights.items()}
    settings = OmegaConf.to_container(cfg, resolve=True)
    (root / "run/checkpoints").mkdir()
    torch.save({"state_dict": state, "hyper_parameters": settings}, root / "run/checkpoints/last.ckpt")
    (root / "run/results.json").write_text(json.dumps({"start": str(root / "start.safetensors")}))
    return root / "start.safetensors", root / "run"


@pytest.fixture(scope="module")
def start(finished):
    return finished[0]


@pytest.fixture(scope="module")
def folder(finished):
    return finished[1]


def similarity(out, *arguments):
    """What similarity.json holds, and stdout; it must be JSON for everyone, without NaN."""
    status, stdout, stderr = script("similarity", *arguments, f"hydra.run.dir={out}")
    assert status == 0, stderr

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads((out / "similarity.json").read_text(), parse_constant=refuse), stdout


@pytest.fixture(scope="module")
def compared(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared")
    return out, *similarity(out, f"first={folder}", "data.eval_batch_size=200")


@pytest.mark.slow
def test_a_run_is_compared_with_what_it_started_from_student_and_teacher(start, folder, compared):
    _, results, stdout = compared
    student, teacher = results["comparisons"]
    assert [student[key] for key in ("first", "model", "second", "second_model")] == [
        *(str(folder), "student", str(start), "model")
    ]
    assert (teacher["model"], teacher["name"]) == ("teacher", "run teacher")
    assert {name: values["n"] for name, values in student["inputs"].items()} == {
        "spurious": 540,
        "text": 40,
    }
    first, second = (comparison["inputs"]["spurious"]["cka"] for comparison in (student, teacher))
    assert 0 < first[0][0] < second[0][0] < 1  # the average has moved less
    for words in ("spurious, 540 images", "text, 40 texts", "run teacher", f"{first[0][0]:.3f}", "SVCCA"):
        assert words in stdout


@pytest.mark.slow
def test_values_are_those_of_the_models_block(start, folder, compared, tmp_path):
    inputs = {}
    with hydra_context():
        for name, weights in (("tuned", folder), ("start", start)):
            (tmp_path / name).mkdir()
            cfg = composed(tmp_path / name)
            backbone = build_backbone(cfg, weights)
            model, data = backbone.model.eval(), build_data(cfg, backbone)
            kept = []
            model.model.visual.transformer.resblocks[0].register_forward_hook(
                lambda *arguments, kept=kept: kept.append(arguments[2])
            )
            for batch in data.eval_loader(data.eval_sets[0]):
                with torch.no_grad():
                    model.encode_image(data.on_after_batch_transfer(batch, 0).images[batch.labels >= 0])
            inputs[name] = torch.cat(kept)[:, 0].double()
    similarities = compared[1]["comparisons"][0]["inputs"]["spurious"]
    assert similarities["cka"][0][0] == pytest.approx(alignment(inputs["tuned"], inputs["start"]), abs=1e-5)
    assert similarities["svcca"][0][0] == pytest.approx(svcca(inputs["tuned"], inputs["start"]), abs=1e-3)
    assert similarities["cka_minibatch"][0][0] == pytest.approx(similarities["cka"][0][0], abs=0.02)
    assert similarities["cka_minibatch"][0][0] != similarities["cka"][0][0]


@pytest.mark.slow
def test_files_and_figures_are_written(compared):
    out, results, _ = compared
    with (out / "similarity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 4
    assert float(rows[0]["cka"]) == results["comparisons"][0]["inputs"]["spurious"]["cka"][0][0]
    for inputs in ("spurious", "text"):
        for kind in ("curves", "heatmap"):
            assert Image.open(out / f"{kind}-{inputs}.png").width > 300
            assert "feat." in (out / f"{kind}-{inputs}.svg").read_text()


@pytest.mark.slow
def test_a_model_with_itself_and_the_other_way_round(start, folder, tmp_path):
    few = ["towers=[image]", "samples=100", "data.eval_batch_size=40"]
    (tmp_path / "one").mkdir()
    one, stdout = similarity(tmp_path / "one", f"first={folder},{start}", f"second={folder}", "models=[student]", *few)
    same, back = (comparison["inputs"]["spurious"] for comparison in one["comparisons"])
    assert same["n"] == 100
    for measure in ("cka", "cka_minibatch", "svcca"):
        torch.testing.assert_close(matrix(same[measure]).diag(), torch.ones(2).double(), rtol=0, atol=1e-9)
    assert "text" not in one["comparisons"][0]["inputs"]
    assert "run" in stdout
    (tmp_path / "two").mkdir()
    options = [f"second={start}", "models=[student]", "split=[spurious,val]"]
    two, _ = similarity(tmp_path / "two", f"first={folder}", *options, *few)
    forth = two["comparisons"][0]["inputs"]["spurious"]
    assert two["comparisons"][0]["inputs"]["spurious-val"]["n"] == 100
    for measure in ("cka", "cka_minibatch", "svcca"):
        torch.testing.assert_close(matrix(forth[measure]).T, matrix(back[measure]), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_models_of_other_depths_have_a_heat_map_only(start, folder, tmp_path):
    (tmp_path / "deep").mkdir()
    with hydra_context():
        cfg = composed(tmp_path / "deep", "backbone.vision_cfg.layers=2", "trainer.max_epochs=1")
        run(cfg)
    options = [f"second={tmp_path}/deep/run", "second_model=teacher", "models=[teacher]", "samples=50"]
    (tmp_path / "out").mkdir()
    results, stdout = similarity(tmp_path / "out", f"first={folder}", *options)
    similarities = results["comparisons"][0]["inputs"]["spurious"]
    assert (similarities["first"], similarities["second"]) == (["1", "features"], ["1", "2", "features"])
    assert results["comparisons"][0]["second_model"] == "teacher"
    assert "spurious: the models have different blocks" in stdout
    assert not (tmp_path / "out/curves-spurious.png").exists()
    assert (tmp_path / "out/curves-text.png").exists()


@pytest.mark.slow
def test_exports_and_a_resnet_are_compared(folder, start, tmp_path):
    status, _, stderr = script("export", f"checkpoint={folder}", f"out={tmp_path}/export", f"hydra.run.dir={tmp_path}")
    assert status == 0, stderr
    (tmp_path / "one").mkdir()
    few = ["samples=50", "data=digits"]
    results, _ = similarity(tmp_path / "one", f"first={tmp_path}/export", f"second={folder}", *few)
    similarities = results["comparisons"][0]["inputs"]
    for values in similarities.values():
        torch.testing.assert_close(matrix(values["cka"]).diag(), torch.ones(2).double(), rtol=0, atol=1e-5)
    tower = ["backbone.vision_cfg={image_size:32,layers:[1,1,1,1],width:16,head_width:32}"]
    (tmp_path / "two").mkdir()
    with hydra_context():
        torch.manual_seed(3)
        model = build_backbone(composed(tmp_path / "two", *tower, "batch_norm=train"), None).model.model
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "rn.safetensors")
    options = [*SIZES[-1:], *tower, f"second={tmp_path}/rn.safetensors", *few]
    results, _ = similarity(tmp_path / "two", f"first={tmp_path}/rn.safetensors", *options)
    similarities = results["comparisons"][0]["inputs"]["spurious"]
    assert similarities["first"] == ["1.1", "2.1", "3.1", "4.1", "features"]
    torch.testing.assert_close(matrix(similarities["cka"]).diag(), torch.ones(5).double())


@pytest.mark.exhaustive
def test_two_processes_find_the_same(folder, tmp_path):
    """In double precision; minibatches are others."""
    shared = [f"first={folder}", "trainer.precision=64-true", "data.eval_batch_size=101", "samples=301"]
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    (tmp_path / "one").mkdir()
    alone, _ = similarity(tmp_path / "one", *shared, "trainer=cpu")
    command = [sys.executable, str(ROOT / "scripts/similarity.py"), *shared, *ddp, f"hydra.run.dir={tmp_path / 'two'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    succeeded(subprocess.run(command, capture_output=True, text=True, env=environment))
    both = json.loads((tmp_path / "two/similarity.json").read_text())
    one, two = (results["comparisons"][0]["inputs"] for results in (alone, both))
    torch.testing.assert_close(matrix(one["text"]["cka"]), matrix(two["text"]["cka"]))
    one, two = one["spurious"], two["spurious"]
    assert one["n"] == two["n"] == 301
    for measure in ("cka", "svcca"):
        torch.testing.assert_close(matrix(one[measure]), matrix(two[measure]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(matrix(one["cka_minibatch"]), matrix(two["cka_minibatch"]), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: first must name one or more different models"),
        (["first={start}"], "error: second is not set, and no results.json of {start} says what it started from; give"),
        pytest.param(
            *(["first={folder}", "split=tiny"], "error: split: there is no tiny; choose some of spurious, plain"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(["first={folder}", "second=nowhere"], "error: second=nowhere: no such file"), marks=pytest.mark.slow
        ),
        pytest.param(
            *(
                ["first={folder}", "models=[middle]"],
                "error: models: {folder} holds student, teacher, and none of middle",
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(["first={folder}", "second={folder}/x.pt"], "error: second={folder}/x.pt: no such file"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(
                ["first={start}", "second={start}", "second_model=teacher", "towers=[sound]"],
                "error: towers must be a list",
            ),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_mistakes_are_one_line(start, folder, tmp_path, arguments, message):
    names = {"start": start, "folder": folder}
    formatted = [text.format(**names) for text in arguments]
    status, _, stderr = script("similarity", *formatted, *SIZES, f"hydra.run.dir={tmp_path / 'out'}")
    assert status == 1
    assert message.format(**names) in stderr
    assert stderr.count("error: ") == 1
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"image_size": 64, "mean": (0.0, 0.0, 0.0)}, "image_size, mean"),
        ({"tokenize": lambda texts: torch.zeros(len(texts), 16, dtype=torch.long)}, "tokenize"),
    ],
)
def test_models_that_take_other_inputs_are_not_compared(backbone, changed, names):
    changed_backbone = backbone._replace(spec=backbone.spec._replace(**changed))
    with pytest.raises(ValueError, match=f"second: the models differ in {names}, and must take the same inputs"):
        check_same_inputs({"0": backbone, "1": changed_backbone}, ["image", "text"])


SETTINGS = {
    **EVERY_ENTRY,
    **{"first": ["a"], "checkpoint": "a", "second": None, "models": None, "second_model": "student", "samples": None},
    **{"towers": ["image"], "tokens": "pooled", "split": None, "data": {"eval_batch_size": 4}},
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"first": ["a", "a"]}, "first must name one or more different models"),
        ({"checkpoint": "b"}, "first must name one or more different models, and no checkpoint= beside it"),
        ({"second": ["b"]}, "second must be a path, a name or null"),
        ({"second_model": "teach"}, "second_model must be student or teacher, found 'teach'"),
        ({"tokens": "all"}, "tokens must be pooled or patches, found 'all'"),
        ({"towers": "image"}, "towers must be a list of image, text or both, found 'image'"),
        ({"towers": []}, "towers must be a list"),
        ({"data": {"eval_batch_size": 3}}, "data.eval_batch_size must be a whole number >= 4, found 3"),
        ({"samples": 3}, "samples must be a whole number >= 4, found 3"),
        ({"models": "student"}, "models must be null or a list such as"),
    ],
)
def test_mistakes_in_values(changed, message):
    validate(OmegaConf.create(SETTINGS), "similarity")
    with pytest.raises(ValueError, match=message):
        validate(OmegaConf.create({**SETTINGS, **changed}), "similarity")
