"""Every experiment of the paper runs: one step and one batch of every set, with random weights on small shards."""

import json
from pathlib import Path

import pytest

from tests.commands.helpers import composed, hydra_context
from tests.commands.stand_ins import IMAGENET, IWILDCAM, UNCOUNTED, write
from tests.conftest import CONF
from tests.faults.processes import finish, start
from tracer_lightning.commands.train import run

EXPERIMENTS = sorted(
    path.stem for path in Path(CONF, "experiment").glob("*.yaml") if not path.stem.startswith(("digits", "pacs", "toy"))
)
QUICK = (
    "trainer.fast_dev_run=1",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",  # few CPUs are quick in bf16
    "data.batch_size=4",
    "data.eval_batch_size=4",
    "data.num_workers=0",
)
ONE_TEMPLATE = "data.texts.templates._target_=tests.commands.stand_ins.one_template"
TWO_TEMPLATES = ONE_TEMPLATE.replace("one_template", "two_templates")
FEW = [
    "data.texts.classnames._target_=tests.commands.stand_ins.few_classes",
    "suite=imagenet",
    "data.train.folder=few",
    "suite.imagenet.folder=few",
    "suite.imagenet.samples=null",
    "data.train.samples=null",
    ONE_TEMPLATE,
]
"""Of the suite only what a label space of ten classes has."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    write(root, IMAGENET | IWILDCAM | {"few": (("train", "test"), 10)})
    return root


def uncounted(experiment):
    if experiment.startswith("iwildcam"):
        return UNCOUNTED["iwildcam"]
    return [*UNCOUNTED["imagenet"], TWO_TEMPLATES if "car_ft" in experiment else ONE_TEMPLATE]


def fast_dev_run(tmp_path, root, experiment, *overrides):
    overrides = [f"data.root={root}", *QUICK, *overrides]
    with hydra_context():
        return run(composed(tmp_path, f"experiment={experiment}", *overrides, tiny=False))


def method_of(experiment):
    """``rn50_lp_ft`` and ``vitb16_lp_ft_paper`` to ``lp_ft``."""
    name = experiment.partition("_")[2].removesuffix("_paper").removesuffix("_released")
    return {"wma": "tracer", "ema": "tracer_ema"}.get(name, name)


def test_the_paper_has_all_of_them():
    methods = ("wma", "flyp", "carot", "ema", "ft", "lp_ft")
    families = {f"{backbone}_{method}" for backbone in ("rn50", "vitb16", "vitl14") for method in methods}
    baselines = {f"vitb16_{method}" for method in ("zs", "lp", "l2_sp", "static_sd", "car_ft", "lipsum_ft")}
    recipes = {f"vitb16_{method}_paper" for method in ("ft", "lp_ft", "car_ft", "lipsum_ft", "flyp", "carot")}
    assert set(EXPERIMENTS) == families | baselines | recipes | {
        *("iwildcam_wma", "vitb16_ema_released", "vitb16_flyp_released"),
    }


TEACHERLESS = {"flyp", "zs", "lp", "ft", "lp_ft", "l2_sp"}


QUICKLY = ("vitb16_wma", "vitb16_lipsum_ft_paper", "vitb16_lp_ft", "vitb16_carot", "rn50_ema", "iwildcam_wma")


@pytest.mark.parametrize(
    "experiment", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICKLY)) for name in EXPERIMENTS]
)
def test_with_a_small_backbone(tmp_path, root, experiment):
    backbone = "pacs_resnet" if experiment.startswith("rn50") else "digits_vit"
    results = fast_dev_run(tmp_path, root, experiment, *uncounted(experiment), f"backbone={backbone}")
    assert results["method"] == method_of(experiment)
    assert results["name"] == experiment
    assert (results["teacher"] is None) == (results["method"] in TEACHERLESS)
    assert len(results["student"]["avg_ood"]["sets"]) == (1 if experiment.startswith("iwildcam") else 5)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["iwildcam_wma", "rn50_wma", "vitb16_wma", "vitl14_wma"])
def test_with_the_real_architecture(tmp_path, root, experiment):
    """As the command, which gives its memory back."""
    few = uncounted(experiment) if experiment == "iwildcam_wma" else FEW
    overrides = [f"experiment={experiment}", f"data.root={root}", *QUICK, "run=x", "backbone.pretrained=null", *few]
    status, _, errors = finish(start(*overrides, cwd=tmp_path), 600)
    assert status == 0, errors[-2000:]
    (results,) = tmp_path.glob("outputs/*/x/results.json")
    assert json.loads(results.read_text())["student"]
