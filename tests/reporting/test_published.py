from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tests.reporting.run_folders import OOD, config, scores
from tracer_lightning.reporting.published import curve, find, paper_data_set, published
from tracer_lightning.reporting.settings import BETA, EVERY, STRENGTH, TERMS, settings_of

BACKBONE = {"backbone.name": "ViT-B-16-quickgelu", "backbone.pretrained": "openai"}


def settings(**changed):
    return settings_of(config(Path("run"), **{**BACKBONE, **changed}))


def value(metric="accuracy", data_set="avg_ood", model="student", swept=None, **changed):
    entry = find(settings(**changed), model, swept, data_set, metric)
    return entry and (entry.value, entry.table)


def test_every_line_is_read():
    assert len(published()) == 954 - 30  # six methods on five sets are in Tables 1 and 2
    assert {entry.table for entry in published().values()} == {1, 2, 5, 6, 7, 8, 9, 10, 11}
    assert all(0 < entry.value < 1 for entry in published().values())


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, (0.6407, 1)),
        ({"beta": 0.2}, (0.6422, 11)),
        ({"every": 500}, (0.6412, 10)),
        ({"strength": 10}, (0.6327, 9)),
        ({"terms": ["crd"]}, (0.6312, 8)),
        ({"terms": []}, (0.594, 8)),
        ({"method": "flyp", "terms": [], "teacher": "No"}, (0.5945, 1)),
        ({"backbone.name": "RN50", "strength": 0.01}, (0.4273, 6)),
        ({"backbone.name": "ViT-L-14-quickgelu"}, (0.7532, 7)),
        ({"backbone.pretrained": "/weights/ViT-B-16.pt"}, (0.6407, 1)),
    ],
)
def test_accuracy(changed, expected):
    assert value(**changed) == pytest.approx(expected)


@pytest.mark.parametrize(
    "changed",
    [
        {"beta": 0.3},
        {"beta": 0.2, "every": 500},
        {"teacher": "EMA"},
        {"method": "mine"},
        {"backbone.name": "RN50"},
        {"backbone.name": "ViT-B-32-quickgelu"},
        {"backbone.pretrained": "laion2b_s34b_b88k"},
        {"backbone.pretrained": None},
        {"init_weights": "outputs/mine"},
        {"prerequisite.experiment": "mine"},
    ],
)
def test_no_counterpart(changed):
    assert value(**changed) is None


def test_models_and_metrics():
    assert value(model="zero_shot", data_set="imagenet") == (pytest.approx(0.6833), 1)
    assert value(model="teacher") is None
    assert value("ece_per_batch") == (0.073, 5)
    assert value("macro_f1") is None
    assert value(method="static_sd", data_set="avg_ood_without_objectnet") == (pytest.approx(0.5955), 2)


@pytest.mark.parametrize(("key", "table"), [(TERMS, 8), (STRENGTH, 1), (EVERY, 10), (BETA, 11), ("optimizer.lr", 1)])
def test_in_a_sweep_the_main_setting_is_of_its_table(key, table):
    assert value(swept=key)[1] == table


def test_names_of_data_sets():
    full = scores(0.8, 0.6, names=("imagenet", *OOD))
    fewer = scores(0.8, 0.6, names=("imagenet", *OOD[:4]))
    part = scores(0.8, 0.6, names=("imagenet", *OOD[:2]))
    assert [paper_data_set(name, full) for name in ("imagenet", "imagenet-v2")] == ["imagenet", "imagenetv2"]
    names = [paper_data_set("avg_ood", results) for results in (full, fewer, part)]
    assert names == ["avg_ood", "avg_ood_without_objectnet", ""]
    del fewer["avg_ood"]["sets"]
    assert paper_data_set("avg_ood", fewer) == "avg_ood_without_objectnet"


def test_published_curves():
    betas = curve(settings(beta=0.3), BETA, "avg_ood", "accuracy")
    assert sorted(betas) == [0.2, 0.5, 0.7, 0.9, 1, 1.5]
    assert betas[0.2] == pytest.approx(0.6422)
    assert len(curve(settings(terms=["fd"]), TERMS, "imagenet", "ece_per_batch")) == 16
    assert len(curve(settings(), EVERY, "imagenet", "accuracy")) == 9
    assert len(curve(settings(), STRENGTH, "imagenet", "accuracy")) == 14


@pytest.mark.parametrize("changed", [{"every": 10}, {"method": "flyp"}, {"backbone.name": "RN50"}, {"teacher": "EMA"}])
def test_no_published_curve_of_other_runs(changed):
    assert curve(settings(**changed), BETA, "avg_ood", "accuracy") == {}


@pytest.mark.parametrize(
    ("name", "table"),
    [("vitb16", 1), *(pytest.param(*row, marks=pytest.mark.slow) for row in (("rn50", 6), ("vitl14", 7)))],
)
def test_our_experiments_have_the_main_settings(name, table, tmp_path):
    with hydra_context():
        content = composed(tmp_path, f"experiment={name}_wma", "data.root=/data", tiny=False)
    run = settings_of(OmegaConf.to_container(content, resolve=True))
    assert find(run, "student", None, "avg_ood", "accuracy").table == table
