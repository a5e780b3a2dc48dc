"""Every YAML composes, and what it describes can be built."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tests.commands.stand_ins import CIFAR10, IMAGENET, IWILDCAM, PACS, write, write_video
from tests.conftest import CONF
from tests.data.arrays.helpers import write_archive, write_npz, write_values
from tests.data.digits import mnist_files
from tests.data.pairs import pair_files
from tests.data.questions.question_files import rows, write_images, write_rows
from tests.models.open_clip.siglip_models import write_open_clip
from tracer_lightning.config.alignment import prepare_modality
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import add_head, build_data, build_module, build_trainer
from tracer_lightning.data.nas_bench_360 import TASKS
from tracer_lightning.data.shards.packing import SourceSample
from tracer_lightning.data.shards.writer import SampleCollection, write_shards
from tracer_lightning.losses import FeatureDistillation
from tracer_lightning.storage.shard_layout import ShardLayout
from tracer_lightning.teachers import EMATeacher, FrozenTeacher, NoTeacher, WMATeacher

OPTIONS = sorted(
    (path.parent.relative_to(CONF).as_posix(), path.stem)
    for path in Path(CONF).rglob("*.yaml")
    if path.parent != Path(CONF) and path.relative_to(CONF).parts[0] not in ("hydra", "paths", "merge", "maps")
)
REPEATED = [("backbone", "vit_l_14")]
REPEATED += [("experiment", name) for name in ("rn50", "rn50_wma", "vitl14", "vitl14_wma")]
"""A large model, and experiments that differ in a few values from those of ViT-B/16."""
ELSEWHERE = [("head", "kept"), ("recipe", "car_ft_paper"), ("backbone", "mllm")]
ELSEWHERE += [("experiment", name) for name in ("mllm_imagenet_vqa", "mllm_cl")]
ELSEWHERE += [("experiment", f"nb360_{name}") for name in TASKS]
ELSEWHERE += [(group, "checkpoint") for group in ("backbone", "peft", "embedder", "data", "suite", "evaluation")]
"""What needs weights that have a head, several templates, a checkpoint, arrays of large samples, or the hub."""
OWN = (
    "cifar10",
    "continual",
    "cross_modal",
    "digits",
    "nb360",
    "own_images",
    "pacs",
    "pairs",
    "questions",
    "tiny",
    "toy_digits",
)
"""Beginnings of the names of experiments that the paper does not have."""
LISTS = ("distill_losses", "regularizers")
FOLDER = ["data.root={root}"]
SETS = ["data.root={root}/sets"]
CIFAR10_SETS = [*SETS, "~suite.tiny-imagenet-shift"]  # whose classes are named
MNIST = ["data.root={root}/mnist", "data.download=false"]
QUICK = ["data.texts.templates={_target_:tests.commands.stand_ins.one_template}"]  # 80,000 captions take seconds
VIT = ["backbone=vit_b_16", "backbone.pretrained=null"]
SIGLIP = ["backbone=vit_b_16_siglip", "backbone.name=local-dir:{root}/siglip", "backbone.pretrained=null"]
PAIRS = ["data.root={root}/pairs", "data.file=mine.csv", "prerequisite=null", "positives=diagonal"]
SERIES = ["embedder=conv1d", "data=series", "data.root={root}/archive", "data.name=Toy"]
VALUES = {
    task: ["method=ft", "embedder=conv2d", "data=arrays", f"prediction={task}", f"data.root={{root}}/{task}.npz"]
    for task in ("multilabel", "regression", "dense", "mask")
}
"""Settings of runs that predict values in place of classes."""
ONE_STEP = ["align.steps=1", "align.source_samples=20"]
OWN_QUESTIONS = ["data.root={root}/questions", "data.train.file=mine.jsonl"]
NUMBERS = ["data.batch_size=4", "trainer.max_epochs=1"]
NEEDS = {
    ("data", "image_folder"): FOLDER,
    ("data", "toy_digits"): ["backbone=toy_vit"],
    ("data", "toy_mnist"): ["backbone=toy_vit", *MNIST],
    ("backbone", "toy_vit"): ["data=toy_digits"],
    **{("experiment", f"toy_{name}"): MNIST for name in ("mnist", "mnist_pretrain", "mnist_published")},
    ("data", "imagenet_folder"): [*FOLDER, *QUICK],
    ("data", "shards"): ["data.root={root}/shards"],
    **{("data", name): [*SETS, *QUICK] for name in ("imagenet", "imagenet_timm")},
    **{("data", name): SETS for name in ("iwildcam", "pacs", "tiny_imagenet")},
    ("data", "cifar10"): CIFAR10_SETS,
    ("suite", "cifar10"): ["data=cifar10", *CIFAR10_SETS],
    ("suite", "tiny_imagenet"): ["data=tiny_imagenet", *SETS],
    ("backbone", "small_resnet"): ["data=tiny_imagenet", *SETS],
    ("experiment", "tiny_imagenet_pretrain"): SETS,
    **{("experiment", name): CIFAR10_SETS for name in ("cifar10", "cifar10_flyp", "cifar10_tracer")},
    **{("data/reader", name): ["data=pacs", *SETS] for name in ("indexed", "stream")},
    ("suite", "own"): ["data=shards", "data.root={root}/shards"],
    **{
        ("suite", name): ["data=imagenet", *SETS, *QUICK]
        for name in ("imagenet", "imagenet_ood", "imagenet_vid_robust")
    },
    **{("suite", name): ["data=pacs", *SETS] for name in ("pacs", "pacs_domains", "pacs_tasks")},
    ("suite", "iwildcam"): ["data=iwildcam", *SETS],
    ("backbone", "vit_b_16"): ["backbone.pretrained=null", "data=image_folder", *FOLDER],
    ("backbone", "pacs_resnet"): ["data=pacs", *SETS],
    **{
        ("experiment", name): [*SETS, *QUICK, "backbone=digits_vit", "trainer.accelerator=cpu"]
        for name in ("rn50", "rn50_wma", "vitb16", "vitl14", "vitl14_wma")
    },
    **{
        ("recipe", path.stem): ["data=imagenet", *SETS, *QUICK, "backbone=digits_vit"]
        for path in Path(CONF, "recipe").glob("*.yaml")
    },
    **{("backbone", name): ["backbone.pretrained=null", "data=image_folder", *FOLDER] for name in ("rn50", "vit_b_32")},
    ("backbone", "vit_l_14"): ["backbone.pretrained=null", "data=image_folder", *FOLDER],
    ("data", "pairs"): PAIRS,
    ("data", "pairs_stream"): [*PAIRS, "data.val=mine.csv"],
    ("evaluation", "retrieval"): ["data=pairs", *PAIRS],
    ("experiment", "pairs_own"): [*PAIRS[:2], "backbone=digits_vit", "trainer.accelerator=cpu"],
    ("experiment", "vitb16_wma"): [*SETS, *QUICK, *VIT, "trainer.accelerator=cpu"],
    ("backbone", "vit_b_16_siglip"): [*SIGLIP, "data=image_folder", "task_loss=sigmoid", "regularizers=[]", *FOLDER],
    ("experiment", "vitb16_siglip_wma"): [*SETS, *QUICK, *SIGLIP, "trainer.accelerator=cpu"],
    ("task_loss", "sigmoid"): ["backbone=digits_siglip"],
    ("experiment", "iwildcam_wma"): [*SETS, *VIT, "trainer.accelerator=cpu"],
    ("experiment", "own_images"): [*FOLDER, *NUMBERS, "backbone=digits_vit", "trainer.accelerator=cpu"],
    **{("experiment", name): SETS for name in ("pacs_pretrain", "pacs_tracer", "pacs_flyp", "continual_pacs")},
    ("experiment", "pacs_siglip"): SETS,
    ("experiment", "pairs_pacs"): [*SETS, "data.folder={root}/pairs"],
    **{("ablation/teacher", name): ["ablation=teacher"] for name in ("wma", "ema", "ema_carot", "frozen", "none")},
    ("trainer", "gpu"): ["trainer.accelerator=cpu"],
    ("trainer", "ddp"): ["trainer.accelerator=cpu", "trainer.devices=2"],
    ("trainer", "fsdp"): ["trainer.accelerator=cpu", "trainer.devices=2"],
    ("logger", "wandb"): ["logger.wandb.offline=true"],
    **{("head", name): ["method=ft"] for name in ("zero_shot", "random", "probe")},
    ("head", "none"): ["task_loss=info_nce"],
    ("task_loss", "cross_entropy"): ["method=ft"],
    ("distill_losses", "head_kl"): ["method=ft", "teacher=frozen"],
    **{("distill_losses", name): ["teacher=frozen", "anchors=class_prompts"] for name in ("anchor_kl", "anchor_mse")},
    ("reproduce", "official"): ["distill_losses.fd.weight=2000", "distill_losses.crd.weight=1"],
    ("backbone", "tiny_llava"): ["experiment=questions"],
    ("data", "vqa"): ["experiment=questions", *OWN_QUESTIONS],
    ("experiment", "questions_own"): [*OWN_QUESTIONS, "backbone=tiny_llava", "trainer.accelerator=cpu"],
    **{
        (group, option): ["experiment=questions"]
        for group, option in (
            ("data", "digit_questions"),
            ("evaluation", "answers"),
            ("task_loss", "answer_cross_entropy"),
            ("peft", "lora_all"),
        )
    },
    **{("method", f"sft{suffix}"): ["experiment=questions"] for suffix in ("", "_wma", "_ema", "_static")},
    ("data", "series"): SERIES,
    ("data", "japanese_vowels"): ["embedder=conv1d"],
    ("data", "arrays"): ["embedder=conv1d", "data.root={root}/arrays.npz"],
    ("embedder", "conv1d"): SERIES,
    ("embedder", "conv2d"): ["data=arrays", "data.root={root}/maps.npz"],
    **{
        ("align", path.stem): [*SERIES, *ONE_STEP, "data@align.source=digits"] for path in Path(CONF, "align").iterdir()
    },
    **{("experiment", name): ONE_STEP for name in ("cross_modal", "cross_modal_spectra")},
    ("experiment", "nb360"): ["data.root={root}/maps.npz", "data.batch_size=4", *ONE_STEP, "trainer.accelerator=cpu"],
    **{(group, task): needs for group in ("prediction", "evaluation") for task, needs in VALUES.items()},
    ("head", "values"): VALUES["regression"],
    ("head", "pixels"): VALUES["mask"],
    ("task_loss", "binary_cross_entropy"): VALUES["multilabel"],
    ("task_loss", "squared_error"): VALUES["dense"],
    ("task_loss", "relative_error"): VALUES["regression"],
    ("task_loss", "focal"): ["method=ft"],
    ("head", "tower"): ["experiment=questions", "method.train=[image,head]"],
    ("distill_losses", "answer_kl"): ["experiment=questions", "teacher=frozen"],
}


@pytest.fixture(autouse=True)
def hydra():
    with hydra_context():
        yield


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A thousand class folders, and a set of shards."""
    root = tmp_path_factory.mktemp("imagenet")
    for split in ("train", "val"):
        for number in range(1000):
            (root / split / f"n{number:08d}").mkdir(parents=True)
    for split in ("train", "test"):
        item = SourceSample(lambda: b"image", "image", "png", label=0)
        write_shards(SampleCollection([item], ["cat", "dog"]), root / "shards", split, ["a {c}."], ShardLayout())
    write(root / "sets", IMAGENET | IWILDCAM | PACS | CIFAR10, samples=1)
    write_video(root / "sets/imagenet-vid-robust")
    (root / "sets/imagenet-1k-wds").mkdir()
    mnist_files.write(root / "mnist")
    (root / "siglip").mkdir()
    write_open_clip(root / "siglip")
    pair_files.write_images(root / "pairs", 102)
    pair_files.write_rows(root / "pairs/mine.csv", pair_files.rows(102))
    pair_files.write_rows(root / "pairs/train.csv", pair_files.rows(102)[:90])
    pair_files.write_rows(root / "pairs/test.csv", pair_files.rows(102)[90:])
    write_images(root / "questions")
    write_rows(root / "questions/mine.jsonl", rows())
    write_archive(root / "archive")
    write_npz(root / "arrays.npz")
    write_npz(root / "maps.npz", shape=(1, 4, 5))
    for task in VALUES:
        write_values(root / f"{task}.npz", task)
    return root


def build(cfg):
    backbone = build_backbone(cfg, None)
    data = build_data(cfg, backbone)
    trainer = build_trainer(cfg)
    prepare_modality(cfg, backbone, data, trainer, None)
    add_head(cfg, backbone.model, data, trainer)
    return build_module(cfg, backbone, data), trainer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "option"),
    [
        pytest.param(*choice, id="=".join(choice), marks=[pytest.mark.exhaustive] * (choice in REPEATED))
        for choice in OPTIONS
        if choice not in ELSEWHERE
    ],
)
def test_every_option_composes_and_builds(tmp_path, imagenet, group, option):
    if (group, option) in (("logger", "wandb"), ("logger", "mlflow")):
        pytest.importorskip(option)
    choice = f"{group}=[{option}]" if group in LISTS else f"{group}={option}"
    if group == "teacher" and option == "none":
        choice += " distill_losses=[]"
    needs = [need.replace("{root}", str(imagenet)) for need in NEEDS.get((group, option), [])]
    is_clip = "experiment=questions" not in needs
    small = is_clip and group != "backbone" and (group != "experiment" or option.startswith("digits"))
    cfg = composed(tmp_path, *choice.split(), *needs, tiny=small)
    module, trainer = build(cfg)
    assert module.student is not None
    assert trainer.callbacks
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


METHODS = {
    "tracer": (WMATeacher, {"info_nce", "fd", "crd", "icl", "cross_kd"}, {"cross_frobenius"}),
    "tracer_algorithm_1": (WMATeacher, {"info_nce", "fd", "crd", "icl", "cross_kd"}, {"cross_frobenius"}),
    "tracer_ema": (EMATeacher, {"info_nce", "fd", "crd", "icl", "cross_kd"}, {"cross_frobenius"}),
    "tracer_plain": (WMATeacher, {"info_nce", "soft_ce"}, {"cross_frobenius"}),
    "static_sd": (FrozenTeacher, {"info_nce", "fd"}, set()),
    "flyp": (NoTeacher, {"info_nce"}, set()),
    "l2_sp": (NoTeacher, {"info_nce"}, {"l2_sp"}),
    "zs": (NoTeacher, {"info_nce"}, set()),
    "lp": (NoTeacher, {"cross_entropy"}, set()),
    "ft": (NoTeacher, {"cross_entropy"}, set()),
    "lp_ft": (NoTeacher, {"cross_entropy"}, set()),
    "car_ft": (FrozenTeacher, {"cross_entropy", "anchor_kl"}, set()),
    "lipsum_ft": (FrozenTeacher, {"cross_entropy", "anchor_mse"}, set()),
    "carot": (EMATeacher, {"info_nce", "soft_ce"}, {"cross_frobenius", "orthogonality"}),
    "tracer_orthogonal": (
        WMATeacher,
        {"info_nce", "fd", "crd", "icl", "cross_kd"},
        {"cross_frobenius", "orthogonality"},
    ),
}
QUICK_METHODS = ("tracer", "car_ft")


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK_METHODS)) for name in METHODS]
)
def test_methods_have_their_teacher_and_terms(tmp_path, method):
    teacher, terms, regularizers = METHODS[method]
    module, _ = build(composed(tmp_path, f"method={method}"))
    assert type(module.teacher) is teacher
    assert set(module.loss.terms) == terms
    assert set(module.regularizers.terms) == regularizers


def test_algorithm_1_has_unit_weights(tmp_path):
    module, _ = build(composed(tmp_path, "method=tracer_algorithm_1"))
    assert set(module.loss.weights.values()) == {1.0}
    assert module.regularizers.terms["cross_frobenius"].squared


def test_tracer_has_the_weights_of_the_released_run(tmp_path):
    module, _ = build(composed(tmp_path))
    assert module.loss.weights == pytest.approx(
        {"info_nce": 1, "fd": 3.515625, "crd": 0.45, "icl": 0.9, "cross_kd": 0.9}
    )
    assert module.regularizers.weights == {"cross_frobenius": 0.05}
    assert module.teacher.kernel.beta == 0.5


def test_the_paper_run_has_the_released_hyperparameters(tmp_path, imagenet):
    cfg = composed(tmp_path, "experiment=vitb16_wma", f"data.root={imagenet}", tiny=False)
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay, cfg.data.batch_size) == (1e-5, 0.1, 512)
    assert (cfg.trainer.max_epochs, cfg.scheduler.warmup_steps, cfg.trainer.precision) == (10, 500, "bf16-mixed")
    assert (cfg.teacher.every_n_steps, cfg.kernel.beta, cfg.method.strength) == (1, 0.5, 0.9)
    assert (cfg.trainer.gradient_clip_val, cfg.positives, cfg.prerequisite) == (None, "diagonal", None)
    assert cfg.backbone == {**cfg.backbone, "name": "ViT-B-16-quickgelu", "pretrained": "openai"}


@pytest.mark.parametrize("reproduce", ["paper", "official"])
def test_imagenet_has_the_texts_of_the_parity(tmp_path, imagenet, reproduce):
    """Class 911 is another one in the released heads, and in neither captions."""
    cfg = composed(
        tmp_path, "data=imagenet", f"reproduce={reproduce}", *(need.replace("{root}", str(imagenet)) for need in SETS)
    )
    texts = instantiate(cfg.data.texts, _convert_="all")
    captions = texts["train_classnames"] or texts["classnames"]
    assert (len(texts["templates"]), texts["classnames"][911]) == {
        "paper": (80, "wool"),
        "official": (86, "woolen"),
    }[reproduce]
    assert captions[911] == "wool"


@pytest.mark.slow
def test_official_parity_has_the_same_losses_in_other_units(tmp_path, inputs):
    """At D = 512, the width of ViT-B/16."""
    ours, _ = build(composed(tmp_path))
    theirs, _ = build(composed(tmp_path, "reproduce=official", *NEEDS["reproduce", "official"]))
    assert isinstance(theirs.loss.terms["fd"], FeatureDistillation)
    width = inputs.student.image.shape[1]
    our_terms, their_terms = ours.loss(inputs)[1], theirs.loss(inputs)[1]
    assert theirs.loss.weights["crd"] * their_terms["crd"].item() == pytest.approx(
        ours.loss.weights["crd"] * our_terms["crd"].item()
    )
    scaled = theirs.loss.weights["fd"] * their_terms["fd"].item() * width / 512
    assert scaled == pytest.approx(ours.loss.weights["fd"] * our_terms["fd"].item())
    assert theirs.teacher.clock_counts_updates
    assert not ours.teacher.clock_counts_updates


def test_terms_may_be_chosen_and_weighted_on_the_command_line(tmp_path):
    module, _ = build(
        composed(tmp_path, "distill_losses=[fd,icl]", "distill_losses.icl.weight=0.5", "method.strength=0.1")
    )
    assert module.loss.weights == pytest.approx({"info_nce": 1.0, "fd": 0.390625, "icl": 0.05})


@pytest.mark.slow
def test_the_demo_backbone_has_one_to_four_million_parameters(tmp_path):
    model = build_backbone(composed(tmp_path, tiny=False), None).model
    assert 1e6 <= sum(parameter.numel() for parameter in model.parameters()) <= 4e6


@pytest.mark.parametrize("path", sorted(Path(CONF, "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_experiments_say_what_they_take_and_what_came_out(path):
    header = path.read_text().partition("\ndefaults:")[0]
    for entry in ("Command:", "Hardware:", "Time:", "Result:"):
        assert f"\n# {entry} " in header
    assert ("\n# Published: " in header) != path.stem.startswith(OWN)
