"""The setting ``data.mix``, from the command line to checkpoints."""

import json
import re
import shutil
from copy import deepcopy

import pytest
import torch
import yaml

from tests.commands import stand_ins
from tests.commands.helpers import composed, hydra_context, script
from tests.comparing import differences
from tests.data.images.test_splits import write
from tests.engine.test_run import run_until
from tests.vector_family.test_vector_family import CONF
from tracer_lightning.commands.cli import task
from tracer_lightning.commands.train import run, train
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import build_training_data

STYLES = "{others:{train_styles:[plain,thin]}}"


def mix(tmp_path, *overrides):
    with hydra_context():
        cfg = composed(tmp_path, *overrides)
        return build_training_data(cfg, build_backbone(cfg, None))


def test_a_set_has_the_settings_of_data_and_its_own(tmp_path):
    data = mix(tmp_path, f"data.mix={{ratio:0.25,sets:{STYLES}}}", "data.renderings_per_digit=2", "data.shots=20")
    (others,) = data.mix.sets.values()
    assert others.train_styles == ("plain", "thin")
    assert (others.renderings_per_digit, others.shots, others.batch_size) == (2, None, 256)
    assert (data.mix.ratio, data.mix.level, data.shots) == (0.25, "batch", 20)


def test_a_set_of_shards_is_read_without_the_test_sets(tmp_path):
    """Its classes are none of the suite's, which is an interpolation."""
    stand_ins.write(tmp_path / "sets", stand_ins.PACS)
    stand_ins.write(tmp_path / "sets", {"shapes": (("train",), 4)}, samples=20)
    sets = "{shapes:{train:{folder:shapes}}}"
    choices = ["data=pacs", f"data.root={tmp_path}/sets", "data.num_workers=0", "data.batch_size=4"]
    data = mix(tmp_path, *choices, f"data.mix={{ratio:0.5,level:sample,sets:{sets}}}")
    assert (len(data.classnames), len(data.mix.sets["shapes"].classnames)) == (7, 4)
    assert data.mix.sets["shapes"].eval_sets == ()
    data.setup("fit")
    labels = [label for batch in data.train_dataloader() for label in batch.labels.tolist()]
    assert min(labels) < 7 <= max(labels) < 11


def test_a_set_is_added_to_a_mix(tmp_path):
    overrides = ["+data.mix.ratio=0.5", "+data.mix.level=sample", "+data.mix.sets.first={train_styles:[plain]}"]
    overrides += ["+data.mix.sets.second={train_styles:[thin],shots:3}", "+data.mix.weights={first:1,second:3}"]
    data = mix(tmp_path, *overrides)
    assert list(data.mix.sets) == ["first", "second"]
    assert data.mix.level == "sample"
    assert data.mix.weights == {"first": 1, "second": 3}
    assert data.mix.sets["second"].shots == 3


OTHERS = {"others": {"train_styles": ["plain", "thin"]}}
CASES = [
    (0.5, "data.mix must be of type dict[str, Any], found 0.5"),
    ({"ratio": 1.0, "sets": OTHERS}, "data.mix: ratio must lie in [0, 1), got 1.0"),
    ({"sets": OTHERS}, "data.mix.ratio must be of type float, found None"),
    ({"ratio": "half", "sets": OTHERS}, "data.mix.ratio must be of type float, found 'half'"),
    ({"ratio": 0.5}, "data.mix: sets must name at least one auxiliary set, got none"),
    ({"ratio": 0.5, "sets": {"others": None}}, "data.mix: sets must name at least one auxiliary set, got none"),
    ({"ratio": 0.5, "sets": ["others"]}, "data.mix.sets must be of type dict[str, dict[str, Any] | None], found"),
    ({"ratio": 0.5, "set": OTHERS}, "data.mix.set is not a setting of a mix, which has ratio, level, sets, weights"),
    ({"ratio": 0.5, "level": "token", "sets": OTHERS}, "data.mix: level must be one of sample, batch, got 'token'"),
    ({"ratio": 0.5, "level": 3, "sets": OTHERS}, "data.mix.level must be of type str | None, found 3"),
    ({"ratio": 0.5, "sets": OTHERS, "weights": {"others": 1, "more": 1}}, "data.mix: weights names the unknown set mo"),
    ({"ratio": 0.5, "sets": OTHERS, "weights": {"others": 0}}, "data.mix: weights must not all be 0"),
    ({"ratio": 0.1, "sets": OTHERS}, "data: mix.ratio=0.1 of the 4 batches of an epoch is less than one batch"),
    ({"ratio": 0.5, "sets": {"a.b": {"train_styles": ["thin"]}}}, "data.mix.sets has the name 'a.b'; names consist of"),
]
SETS = [
    ({"styles": ["plain"]}, ".styles is not a setting of data; see data for those of an auxiliary set"),
    ({"train_styles": ["plain"], "mix": None}, ".mix is not a setting of data"),
    ({"_target_": "os.mkdir", "path": "x"}, ".path is not a setting of data"),
    ({"_target_": "os.mkdir"}, "._target_ is that of the main set"),
    (
        {"train_styles": ["plain"], "batch_size": 3},
        ".batch_size is that of the main set; remove it, or change data.batch_size",
    ),
    ({"train_styles": ["spurious"]}, " is the main set; give it settings other than those of data"),
    ({}, " is the main set; give it settings other than those of data"),
    ({"train_styles": 3}, ".train_styles must be of type Sequence"),
    ({"train_styles": ["x"]}, ": train_styles must name some of"),
]
SETS = [({"ratio": 0.5, "sets": {"others": own}}, f"data.mix.sets.others{message}") for own, message in SETS]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A configuration without a mix, and its backbone."""
    with hydra_context():
        cfg = composed(tmp_path_factory.mktemp("plain"))
    return cfg, build_backbone(cfg, None)


@pytest.mark.parametrize(("value", "message"), CASES + SETS)
def test_mistakes_name_the_setting(plain, value, message):
    cfg, backbone = deepcopy(plain[0]), plain[1]
    cfg.data.mix = value
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        build_training_data(cfg, backbone).setup("fit")


def test_mistakes_are_one_line(tmp_path, capsys):
    cases = (("sets:{others:{train_styles:[x]}}", "train_styles must name"), ("sets:{}", "data.mix: sets must name"))
    for value, message in cases:
        with hydra_context(), pytest.raises(SystemExit):
            task(composed(tmp_path, f"data.mix={{ratio:0.5,{value}}}"), user_wants_traceback=False, job=train)
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: data.mix")]
        assert message in line


@pytest.mark.slow
def test_a_head_of_other_classes_is_refused(tmp_path, capsys):
    overrides = ["data=toy_digits", "backbone=toy_vit", "method=ft", "data.mix={ratio:0.5,sets:{digits:{label:digit}}}"]
    with hydra_context(), pytest.raises(SystemExit):
        task(composed(tmp_path, *overrides), user_wants_traceback=False, job=train)
    assert "error: data: mix.sets.digits has other classes than the training set" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_on_images_is_evaluated_without_its_auxiliary_data(tmp_path, monkeypatch):
    """Folder, names and root of the set are this user's; evaluation looks at none of them."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pets", ["train", "val"], {"train": {"n1": 10, "n2": 10}, "val": {"n1": 3, "n2": 3}})
    write(tmp_path / "web", ["train"], {"train": {"w1": 6, "w2": 6, "w3": 6}})
    (tmp_path / "names.txt").write_text("Käse\nred wine\nsky\n", encoding="utf-8")
    settings = ["data=image_folder", "data.root=pets", "data.batch_size=6", "data.num_workers=0"]
    auxiliary = "data.mix={ratio:0.5,sets:{web:{root:web,texts:{classnames:names.txt}}}}"
    with hydra_context():
        results = task(composed(tmp_path, *settings, auxiliary), user_wants_traceback=False, job=train)
    (web,) = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["data"]["mix"]["sets"].values()
    assert web == {"root": str(tmp_path / "web"), "texts": {"classnames": ["Käse", "red wine", "sky"]}}
    assert "train/auxiliary_samples" in (tmp_path / "run/metrics.csv").read_text()
    shutil.rmtree(tmp_path / "web")
    (tmp_path / "names.txt").unlink()
    status, _, stderr = script("evaluate", f"checkpoint={tmp_path}/run", f"hydra.run.dir={tmp_path}/evaluated")
    assert status == 0, stderr
    evaluated = json.loads((tmp_path / "evaluated/evaluation.json").read_text())["student"]
    assert {name: evaluated["pets"][name] for name in results["student"]["pets"]} == results["student"]["pets"]


@pytest.mark.slow
def test_a_family_of_ones_own_trains_and_is_evaluated(tmp_path):
    choices = [f"hydra.searchpath=[file://{CONF}]", "experiment=vectors", "trainer.max_epochs=1"]
    with hydra_context():
        results = run(composed(tmp_path, *choices, "+data.mix={ratio:0.5,sets:{more:{samples:300}}}", tiny=False))
    status, stdout, stderr = script(
        "evaluate", f"checkpoint={tmp_path}/run", f"hydra.run.dir={tmp_path}/evaluated", "--config-dir", str(CONF)
    )
    assert status == 0, stderr
    assert "ignored" not in stdout
    assert json.loads((tmp_path / "evaluated/evaluation.json").read_text())["student"] == results["student"]


@pytest.mark.slow
def test_a_killed_run_continues_to_the_last_bit(tmp_path):
    choices = [f"hydra.searchpath=[file://{CONF}]", "experiment=vectors", "trainer.max_epochs=2"]
    choices += ["callbacks.checkpoint.every_n_train_steps=1", "+data.mix={ratio:0.5,sets:{more:{samples:300}}}"]
    with hydra_context():
        for name in ("unbroken", "killed"):
            (tmp_path / name).mkdir()
        run(composed(tmp_path / "unbroken", *choices, tiny=False))
        run_until(composed(tmp_path / "killed", *choices, tiny=False), epochs=1)
        run(composed(tmp_path / "killed", *choices, "resume=auto", tiny=False))
    unbroken, continued = (
        torch.load(tmp_path / name / "run/checkpoints/last.ckpt", weights_only=True) for name in ("unbroken", "killed")
    )
    parts = ("state_dict", "optimizer_states", "VectorDataModule")
    assert not differences({part: unbroken[part] for part in parts}, {part: continued[part] for part in parts})
