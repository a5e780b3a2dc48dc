"""Merging real runs, as a user would."""

import csv
import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.commands.helpers import collect, composed, hydra_context, script
from tracer_lightning.commands.train import run
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import build_data
from tracer_lightning.data.digits.styles import STYLES
from tracer_lightning.models import build_clip
from tracer_lightning.models.heads import zero_shot_linear
from tracer_lightning.reporting.runs import read_run

LAST = "checkpoints/last.ckpt"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Makes short runs that start from the same weights, each once: its folder and results."""
    root, finished = tmp_path_factory.mktemp("runs"), {}

    def make(name, *overrides):
        if name not in finished:
            start = () if name == "start" else (f"init_weights={make('start')[0]}",)
            (root / name).mkdir()
            with hydra_context():
                cfg = composed(root / name, "trainer.max_epochs=1", "optimizer.lr=0.01", *start, *overrides)
                finished[name] = root / name / "run", run(cfg)
        return finished[name]

    return make


def merge(out, *arguments):
    """What merge.json holds, and stdout."""
    status, stdout, stderr = script("merge", *arguments, f"hydra.run.dir={out}")
    assert status == 0, stderr
    return json.loads((out / "merge.json").read_text()), stdout


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def curve(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("curve")
    return out, *merge(out, "wise_ft", f"checkpoint={runs('one')[0]}", "alpha=0,0.5,...,1")


@pytest.mark.slow
def test_a_curve_goes_from_the_zero_shot_to_the_students_scores_exactly(runs, curve):
    (folder, before), (_, results, stdout) = runs("one"), curve
    assert list(results["scores"]) == ["0", "0.5", "1"]
    assert results["scores"]["0"] == before["zero_shot"]
    assert results["scores"]["1"] == before["student"]
    assert results["scores"]["0.5"] not in (before["zero_shot"], before["student"])
    assert results["start"] == before["start"] == str(runs("start")[0])
    assert results["checkpoints"] == [str(folder)]
    (run_record,) = results["runs"]
    assert (run_record["folder"], run_record["name"], run_record["seed"]) == (str(folder), "digits", 0)
    assert run_record["settings"] == read_run(folder).settings
    for words in ("0.5 (2 of 3)", "ID accuracy", "OOD ECE", f"{100 * before['student']['avg_ood']['accuracy']:.1f}"):
        assert words in stdout


@pytest.mark.slow
def test_a_curve_is_a_series_of_trade_offs(runs, curve, capsys):
    assert collect([str(runs("one")[0]), str(curve[0]), "--frontier"]) == 0
    shown = capsys.readouterr()
    rows = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert any(row.startswith("tracer + WiSE-FT 1 3 ") for row in rows)
    assert any(row.startswith("tracer 1 1 1 ") for row in rows)
    assert any(row.startswith("tracer 1 – ") for row in rows)  # the only setting, picked by validation
    assert shown.err == ""


@pytest.mark.slow
def test_a_curve_by_fisher_information_has_the_same_ends(runs, curve, tmp_path):
    (folder, before), (_, plain, _) = runs("one"), curve
    arguments = ["fisher", f"checkpoint={folder}", "alpha=0,0.5,1", "merge.samples=20"]
    results, stdout = merge(tmp_path, *arguments)
    assert list(results["scores"]) == ["0", "0.5", "1"]
    assert results["scores"]["0"] == before["zero_shot"]
    assert results["scores"]["1"] == before["student"]
    assert results["scores"]["0.5"] != plain["scores"]["0.5"]
    assert results["samples"] == 20
    assert "Fisher information of both models, of 20 training images" in stdout
    assert "Fisher-weighted WiSE-FT, by alpha" in (tmp_path / "id_ood.svg").read_text()


@pytest.mark.slow
def test_all_sets_are_in_the_files_and_both_means_in_the_picture(curve):
    out, results, _ = curve
    table = rows(out / "merge.csv")
    assert {(row["alpha"], row["data_set"]) for row in table} == {
        (alpha, name) for alpha in ("0", "0.5", "1") for name in (*STYLES, "avg_ood")
    }
    for row in table:
        assert float(row["ece"]) == results["scores"][row["alpha"]][row["data_set"]]["ece"]
    assert Image.open(out / "id_ood.png").width > 500
    figure = (out / "id_ood.svg").read_text()
    for words in ("before fine-tuning", "fine-tuned", "OOD accuracy (%)", ">0<"):
        assert words in figure
    assert not (out / "tensors.csv").exists()


@pytest.mark.slow
def test_a_teacher_and_one_alpha(runs, tmp_path):
    folder, results = runs("one")
    merged, _ = merge(tmp_path, "wise_ft", f"checkpoint={folder}/{LAST}", "model=teacher", "alpha=1")
    assert merged["scores"] == {"1": results["teacher"]}


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", pytest.param("a_clip", marks=pytest.mark.exhaustive)])
def test_little_that_was_trained_is_merged_as_plain_weights(runs, tmp_path, peft):
    folder, before = runs(peft, f"peft={peft}")
    merged, _ = merge(tmp_path / "curve", "wise_ft", f"checkpoint={folder}", "alpha=0,1")
    assert merged["scores"] == {"0": before["zero_shot"], "1": before["student"]}


@pytest.mark.slow
def test_a_stock_of_runs(runs, tmp_path):
    both = [runs("one"), runs("lora", "peft=lora")]
    out = tmp_path / "stock"
    merged, stdout = merge(
        tmp_path, "model_stock", f"checkpoints={','.join(str(folder) for folder, _ in both)}", f"out={out}"
    )
    names = [str(folder) for folder, _ in both]  # folders of one name
    assert list(merged["scores"]) == ["theta_0", *names, "mean", "model_stock"]
    assert merged["scores"]["theta_0"] == both[0][1]["zero_shot"]
    for name, (_, results) in zip(names, both, strict=True):
        assert merged["scores"][name] == results["student"]
    ratios = {row["tensor"]: row for row in rows(tmp_path / "tensors.csv")}
    assert float(ratios["visual.proj"]["ratio"]) == 0.0  # LoRA has left it where it was
    attention = [float(row["ratio"]) for name, row in ratios.items() if name.endswith("in_proj_weight")]
    assert max(attention) > 0.0
    assert int(ratios["visual.proj"]["elements"]) == 32 * 64
    assert merged["ratios"]["all"]["tensors"] == len(ratios)
    assert merged["ratios"]["visual.transformer.resblocks.*.attn"]["max"] in attention
    for words in ("median", "visual.transformer.resblocks.*.attn", "local-dir:"):
        assert words in stdout
    exported = load_file(out / "open_clip_model.safetensors")
    start = torch.load(runs("start")[0] / LAST, weights_only=True)["state_dict"]
    assert torch.equal(exported["visual.proj"], start["student.model.visual.proj"])
    again, _ = merge(tmp_path / "again", "wise_ft", f"checkpoint={out}", f"start={runs('start')[0]}", "alpha=1")
    assert again["scores"]["1"] == merged["scores"]["model_stock"]


def close(actual, expected):
    """Are these the same scores but for rounding of the logits?"""
    for name, values in expected.items():
        for metric in ("accuracy", "accuracy_top5", "ece", "macro_f1"):
            assert actual[name][metric] == pytest.approx(values[metric], abs=1e-6)


@pytest.mark.slow
def test_a_head_is_interpolated_from_the_zero_shot_one(runs, tmp_path):
    folder, before = runs("ft", "method=ft")
    merged, _ = merge(tmp_path / "curve", "wise_ft", f"checkpoint={folder}", "alpha=0,1")
    close(merged["scores"]["0"], before["zero_shot"])
    assert merged["scores"]["1"] == before["student"]
    out = tmp_path / "half"
    half, _ = merge(tmp_path / "halfway", "wise_ft", f"checkpoint={folder}", f"out={out}")
    assert list(half["scores"]) == ["0.5"]
    state = torch.load(folder / LAST, weights_only=True)["state_dict"]
    with hydra_context():
        cfg = composed(tmp_path)
        backbone = build_backbone(cfg, runs("start")[0])
        head = zero_shot_linear(backbone.model, build_data(cfg, backbone).prompts())
    exported = load_file(out / "head.safetensors")
    for name, value in head.state_dict().items():
        assert torch.allclose(exported[name], (value + state[f"student.head.{name}"]) / 2, atol=1e-6)
    again, _ = merge(tmp_path / "again", "wise_ft", f"checkpoint={out}", f"start={runs('start')[0]}", "alpha=1")
    assert again["scores"]["1"] == half["scores"]["0.5"]


@pytest.mark.slow
def test_a_head_has_fisher_information_of_its_own(runs, tmp_path):
    folder, before = runs("ft", "method=ft")
    merged, _ = merge(tmp_path / "curve", "fisher", f"checkpoint={folder}", "alpha=0,0.5,1", "merge.samples=20")
    close(merged["scores"]["0"], before["zero_shot"])
    assert merged["scores"]["1"] == before["student"]
    heads = {}
    for name in ("wise_ft", "fisher"):
        out = tmp_path / name
        merge(tmp_path / f"{name} merge", name, f"checkpoint={folder}", f"out={out}", "data.eval_batch_size=270")
        heads[name] = load_file(out / "head.safetensors")["weight"]
    assert not torch.equal(heads["wise_ft"], heads["fisher"])


@pytest.mark.exhaustive
def test_a_head_may_be_rebuilt_from_the_merged_text_tower(runs, tmp_path):
    folder, before = runs("ft", "method=ft")
    merged, _ = merge(tmp_path / "merge", "wise_ft", f"checkpoint={folder}", "alpha=0,1", "merge.head=rebuild")
    assert merged["scores"]["0"] == before["zero_shot"]
    status, _, stderr = script(
        "evaluate", f"checkpoint={folder}", "heads=zero_shot", f"hydra.run.dir={tmp_path / 'evaluate'}"
    )
    assert status == 0, stderr
    evaluated = json.loads((tmp_path / "evaluate/evaluation.json").read_text())
    close(merged["scores"]["1"], evaluated["student"])


@pytest.mark.exhaustive
def test_heads_have_ratios(runs, tmp_path):
    folders = [str(runs(name, f"method={name}")[0]) for name in ("ft", "lp")]
    merged, _ = merge(tmp_path, "model_stock", f"checkpoints={','.join(folders)}")
    for name, folder in zip(("ft", "lp"), folders, strict=True):
        assert merged["scores"][folder] == runs(name)[1]["student"]
    ratios = {row["tensor"]: float(row["ratio"]) for row in rows(tmp_path / "tensors.csv")}
    assert {"head.weight", "head.bias"} < set(ratios)
    assert ratios["visual.proj"] == 0.0  # a probe leaves the tower as it was


@pytest.mark.slow
def test_exported_models_are_merged(runs, tmp_path):
    for name in ("one", "start"):
        status, _, stderr = script("export", f"checkpoint={runs(name)[0]}", f"out={tmp_path / name}")
        assert status == 0, stderr
    merged, _ = merge(
        tmp_path / "merge", "wise_ft", f"checkpoint={tmp_path / 'one'}", f"start={tmp_path / 'start'}", "alpha=0,1"
    )
    assert merged["scores"] == {"0": runs("one")[1]["zero_shot"], "1": runs("one")[1]["student"]}


@pytest.mark.slow
def test_a_run_may_have_started_from_its_backbones_own_weights(runs, tmp_path):
    status, _, stderr = script("export", f"checkpoint={runs('start')[0]}", f"out={tmp_path / 'own'}")
    assert status == 0, stderr
    backbone = ["backbone=vit_b_32", f"backbone.name=local-dir:{tmp_path / 'own'}", "backbone.pretrained=null"]
    short = ["prerequisite=null", "trainer.max_epochs=1", "scheduler.warmup_steps=1", "data.batch_size=256"]
    with hydra_context():
        before = run(composed(tmp_path, *backbone, *short, "compute.gradient_checkpointing=false", tiny=False))
    assert before["start"] is None
    merged, _ = merge(tmp_path / "merge", "wise_ft", f"checkpoint={tmp_path / 'run'}", "alpha=0,1")
    assert merged["start"] == f"local-dir:{tmp_path / 'own'}"
    assert merged["scores"] == {"0": before["zero_shot"], "1": before["student"]}


@pytest.fixture(scope="module")
def deeper(runs, tmp_path_factory):
    """A checkpoint of another architecture, with its settings."""
    content = torch.load(runs("one")[0] / LAST, weights_only=True)
    backbone = content["hyper_parameters"]["backbone"]
    backbone["vision_cfg"]["layers"] = 2
    model = build_clip(**{name: value for name, value in backbone.items() if name != "_target_"}).model
    state = {f"student.{name}": value for name, value in model.state_dict().items()}
    path = tmp_path_factory.mktemp("deeper") / "deeper.ckpt"
    torch.save({"state_dict": state, "hyper_parameters": content["hyper_parameters"]}, path)
    return path


def changed(runs, folder, **content):
    """A run's copy with other contents of results.json."""
    shutil.copytree(runs("one")[0], folder)
    (folder / "results.json").write_text(json.dumps(content))
    return folder


MISMATCH = "deeper.ckpt has visual.transformer.resblocks.1.ln_1.weight, which the start lacks; only models of one"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wise_ft"], "error: merge=wise_ft takes one model, and merges it with its start; give it as checkpoint="),
        (
            ["wiseft", "checkpoint={one}"],
            "error: merge=wiseft: there is no such merge; choose one of fisher, model_st",
        ),
        (["wise_ft", "checkpoint={one}", "alpha=1.5"], "error: merge.alpha must be a number in [0, 1] or a list of"),
        (["checkpoint={one}", "merge.alpha=[]"], "error: merge.alpha must be a number in [0, 1] or a list of them"),
        (["wise_ft", "checkpoint={one}", "alpha=0,0.3,...,1"], "error: alpha=0,0.3,...,1: steps of 0.3 don't lead"),
        (["wise_ft", "checkpoint={one}", "alpha=0,1", "out=x"], "error: out=x takes one model; choose one of the 2"),
        (["wise_ft", "checkpoint={one}", "out={one}"], "exists already; choose another place"),
        (["wise_ft", "checkpoint={one}", "model=both"], "error: model must be student or teacher, found 'both'"),
        (["wise_ft", "checkpoint={start}", "start=7"], "error: start must be a path, a name or null, found 7"),
        (
            ["wise_ft", "checkpoint={start}"],
            "started from random weights; give the weights before fine-tuning as start=",
        ),
        (["wise_ft", "checkpoint={one}", "start=nowhere"], "error: start=nowhere: no such file"),
        (["wise_ft", "checkpoint={one}", "start=ViT-B-16"], "error: start=ViT-B-16: give a tag, too: ViT-B-16/TAG"),
        (["wise_ft", "checkpoint={deeper}"], "error: start is not set, and no results.json of"),
        (
            ["wise_ft", "checkpoint={deeper}", "model=teacher", "start={one}"],
            "deeper.ckpt holds none; choose model=stu",
        ),
        (["wise_ft", "checkpoint={deeper}", "start={one}"], f"error: {MISMATCH}"),
        (["model_stock", "checkpoints={one},{deeper}", "start={start}"], f"error: {MISMATCH}"),
        (["fisher"], "error: merge=fisher takes one model, and merges it with its start; give it as checkpoint="),
        (
            ["fisher", "checkpoint={one}", "merge.samples=0"],
            "error: merge.samples must be a whole number >= 1, fo",
        ),
        (["fisher", "checkpoint={one}", "alpha=2"], "error: merge.alpha must be a number in [0, 1] or a list of them"),
        (["wise_ft", "checkpoint={one}", "merge.head=new"], "error: merge.head must be interpolate or rebuild, found"),
        (["model_stock", "checkpoints={one}"], "error: merge=model_stock takes two or more different models"),
        (["model_stock", "checkpoints={one},{one}"], "error: merge=model_stock takes two or more different models"),
        (["model_stock", "checkpoint={one}"], "give them as checkpoints=RUN1,RUN2; found"),
        (["model_stock", "checkpoints={one},nowhere"], "error: checkpoints=nowhere: no such file"),
    ],
)
def test_mistakes_are_one_line(runs, deeper, tmp_path, arguments, message):
    names = {"one": runs("one")[0], "start": runs("start")[0], "deeper": deeper}
    formatted = [argument.format(**names) for argument in arguments]
    status, _, stderr = script("merge", *formatted, f"hydra.run.dir={tmp_path}")
    assert status == 1
    assert message in stderr
    assert stderr.count("\n") == 1


@pytest.mark.slow
def test_a_start_that_is_gone_or_not_the_same_is_asked_for(runs, tmp_path):
    gone = changed(runs, tmp_path / "gone", start=f"{tmp_path}/nowhere")
    status, _, stderr = script("merge", "wise_ft", f"checkpoint={gone}", f"hydra.run.dir={tmp_path}/out")
    assert status == 1
    assert f"started from {tmp_path}/nowhere, which is gone; give the weights before fine-tuning as start=" in stderr
    other_start = changed(runs, tmp_path / "other", start=str(gone))
    both = f"checkpoints={runs('one')[0]},{other_start}"
    status, _, stderr = script("merge", "model_stock", both, f"hydra.run.dir={tmp_path}/out")
    assert status == 1
    assert "error: start is not set, and there are several: " in stderr
