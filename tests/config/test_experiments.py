"""The experiments of the paper: all compose, and one of each kind runs a step with random weights on small shards."""

import json
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tests.commands.stand_ins import IMAGENET, IWILDCAM, UNCOUNTED, write
from tests.conftest import CONF, tiny_backbone
from tests.faults.processes import finish, start
from tracer_lightning.commands.train import run
from tracer_lightning.config.build import build_sum
from tracer_lightning.config.continual import compose_tasks

BACKBONES = ("rn50", "vitb16", "vitl14")
OF_EACH_BACKBONE = ("flyp", "carot", "ft", "lp_ft")
OF_VITB16 = ("zs", "lp", "l2_sp", "static_sd", "car_ft", "lipsum_ft")
RECIPES = sorted(path.stem for path in Path(CONF, "recipe").glob("*.yaml"))
RUNS = [
    *(
        (experiment,)
        for experiment in ("iwildcam_wma", *(f"{backbone}_wma" for backbone in BACKBONES), "vitb16_siglip_wma")
    ),
    *((backbone, f"method={method}") for backbone in BACKBONES for method in OF_EACH_BACKBONE),
    *((f"{backbone}_wma", "method=tracer_ema", "teacher=ema_carot") for backbone in BACKBONES),
    *(("vitb16", f"method={method}") for method in OF_VITB16),
    *(("vitb16", f"recipe={recipe}") for recipe in RECIPES),
    ("vitb16", "recipe=ft_paper", "method=lp_ft"),
]
"""An experiment and further choices each, as docs/reproducing.md lists them."""
QUICK = (
    "trainer.fast_dev_run=1",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",  # few CPUs are quick in bf16
    "data.batch_size=4",
    "data.eval_batch_size=4",
    "data.num_workers=0",
)
ONE_TEMPLATE = "data.texts.templates={_target_:tests.commands.stand_ins.one_template}"
TWO_TEMPLATES = ONE_TEMPLATE.replace("one_template", "two_templates")
FEW = [
    "data.texts.classnames={_target_:tests.commands.stand_ins.few_classes}",
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


def uncounted(experiment, method):
    if experiment.startswith("iwildcam"):
        return UNCOUNTED["iwildcam"]
    return [*UNCOUNTED["imagenet"], TWO_TEMPLATES if method == "car_ft" else ONE_TEMPLATE]


def fast_dev_run(tmp_path, root, experiment, *overrides):
    overrides = [f"data.root={root}", *QUICK, *overrides]
    with hydra_context():
        return run(composed(tmp_path, f"experiment={experiment}", *overrides, tiny=False))


def method_of(choices):
    """The method that these choices train; a recipe names its own, unless ``method=`` replaces it."""
    options = dict(choice.split("=") for choice in choices)
    return options.get("method") or options.get("recipe", "tracer").removesuffix("_paper").removesuffix("_released")


def test_every_experiment_of_the_paper_is_listed():
    names = {path.stem for path in Path(CONF, "experiment").glob("*.yaml")}
    own = ("cifar10", "continual", "cross_modal", "digits", "mllm", "own", "pacs", "pairs", "questions", "tiny", "toy")
    own += ("nb360",)
    assert {name for name in names if not name.startswith(own)} == {run[0] for run in RUNS}


TEACHERLESS = {"flyp", "zs", "lp", "ft", "lp_ft", "l2_sp"}
RUN_SMALL = (
    ("iwildcam_wma",),
    ("vitb16_wma",),
    ("vitb16", "method=carot"),
    ("vitb16", "method=lp_ft"),
    ("vitb16", "recipe=lipsum_ft_paper"),
    ("rn50_wma", "method=tracer_ema", "teacher=ema_carot"),
)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "experiment", [path.stem for path in Path(CONF, "experiment").glob("*_own.yaml")] + ["own_images"]
)
def test_experiments_on_own_data_reach_their_learning_rate_in_three_steps(experiment):
    """A file of 20 rows gives three to six steps."""
    settings = OmegaConf.load(f"{CONF}/experiment/{experiment}.yaml").scheduler
    scheduler = OmegaConf.merge(OmegaConf.load(f"{CONF}/scheduler/warmup_cosine.yaml"), settings)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = instantiate(scheduler)(optimizer, 3)
    rates = []
    for _ in range(3):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert max(rates) == 0.5
    assert rates[-1] < 0.5


@pytest.mark.slow
def test_all_choices_of_the_paper_compose(tmp_path):
    with hydra_context():
        for experiment, *overrides in RUNS:
            cfg = composed(tmp_path, f"experiment={experiment}", *overrides, "data.root=/shards", tiny=False)
            OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
            assert (cfg.name, cfg.method.name) == (experiment, method_of(overrides))


@pytest.mark.slow
@pytest.mark.parametrize("choices", [pytest.param(run, id="-".join(run)) for run in RUN_SMALL])
def test_with_a_small_backbone(tmp_path, root, choices):
    experiment, *overrides = choices
    method = method_of(overrides)
    backbone = "pacs_resnet" if experiment.startswith("rn50") else "digits_vit"
    small = [*uncounted(experiment, method), f"backbone={backbone}"]
    results = fast_dev_run(tmp_path, root, experiment, *overrides, *small)
    assert (results["name"], results["method"]) == (experiment, method)
    assert (results["teacher"] is None) == (method in TEACHERLESS)
    assert len(results["student"]["avg_ood"]["sets"]) == (1 if experiment.startswith("iwildcam") else 5)


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (["experiment=rn50_wma"], {"optimizer.lr": 9e-6, "method.strength": 0.01}),
        (["experiment=rn50", "method=carot"], {"optimizer.lr": 9e-6, "method.strength": 1.0}),
        pytest.param(
            ["experiment=vitb16", "method=ft"],
            {"optimizer.lr": 1e-5, "trainer.gradient_clip_val": None},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["experiment=vitb16", "recipe=ft_paper"],
            {"optimizer.lr": 3e-5, "trainer.gradient_clip_val": 1.0},
            marks=pytest.mark.slow,
        ),
        (["experiment=vitb16", "recipe=ft_paper", "optimizer.lr=1e-4"], {"optimizer.lr": 1e-4}),
    ],
)
def test_experiments_win_over_methods_and_recipes_over_experiments(tmp_path, choices, expected):
    with hydra_context():
        cfg = composed(tmp_path, *choices, "data.root=/shards", tiny=False)
    assert {key: OmegaConf.select(cfg, key) for key in expected} == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "experiment",
    [
        "vitb16_wma",
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("iwildcam_wma", "rn50_wma", "vitl14_wma")),
    ],
)
def test_with_the_real_architecture(tmp_path, root, experiment):
    """As the command, which gives its memory back."""
    few = uncounted(experiment, "tracer") if experiment == "iwildcam_wma" else FEW
    overrides = [f"experiment={experiment}", f"data.root={root}", *QUICK, "run=x", "backbone.pretrained=null", *few]
    status, _, errors = finish(start(*overrides, cwd=tmp_path), 600)
    assert status == 0, errors[-2000:]
    (results,) = tmp_path.glob("outputs/*/x/results.json")
    assert json.loads(results.read_text())["student"]


@pytest.mark.parametrize(
    "experiment",
    [
        "rn50_wma",
        "toy_mnist_published_head",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("vitl14", "iwildcam_wma")),
    ],
)
def test_an_experiments_settings_of_terms_that_a_method_lacks_are_not_used(tmp_path, experiment):
    with hydra_context():
        cfg = composed(tmp_path, f"experiment={experiment}", "method=flyp", "distill_losses=[]", tiny=False)
    assert cfg.distill_losses
    assert not build_sum(cfg, tiny_backbone().model, ("distill_losses", "regularizers")).terms


def test_a_term_without_a_class_is_an_error(tmp_path):
    with hydra_context():
        cfg = composed(tmp_path, "+distill_losses.typo={weight:1,term:{temperature:1}}", tiny=False)
    with pytest.raises(ValueError, match=r"typo\.term must have _target_"):
        build_sum(cfg, tiny_backbone().model, ("distill_losses",))


@pytest.mark.parametrize("data", ["imagenet", "imagenet_folder"])
def test_texts_of_imagenet_may_be_replaced(data, tmp_path):
    texts = ["data.texts.templates=['a sketch of a {c}.', '{c}']", "data.texts.classnames=[cat, dog]"]
    with hydra_context():
        cfg = composed(tmp_path, "experiment=vitb16_wma", f"data={data}", "data.root=/data", *texts, tiny=False)
    assert cfg.data.texts.templates == ["a sketch of a {c}.", "{c}"]
    assert cfg.data.texts.classnames == ["cat", "dog"]


def test_experiments_of_multimodal_language_models_compose(tmp_path):
    with hydra_context():
        single = composed(tmp_path, "experiment=mllm_imagenet_vqa", tiny=False)
        sequence = composed(tmp_path, "experiment=mllm_cl", tiny=False)
    assert single.data.batch_size * single.trainer.accumulate_grad_batches == 16
    assert (single.optimizer.lr, single.trainer.max_steps, single.method.train) == (1e-6, 80_000, ["text"])
    tasks = compose_tasks(sequence)
    assert [(task.name, task.cfg.trainer.max_epochs) for task in tasks] == [
        *(("rs", 1), ("med", 3), ("ad", 1), ("sci", 2), ("fin", 1))
    ]
    roles = {name: entry.role for name, entry in tasks[1].cfg.data.tests.items()}
    assert roles == {name: "id" if name == "med" else "other" for name in ("rs", "med", "ad", "sci", "fin")}
    assert tasks[1].cfg.data.train.file == "med/train.json"
