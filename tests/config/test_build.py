"""Heads and evaluations that the data allow, and what a validation split takes."""

import lightning.pytorch as pl
import pytest
from omegaconf import OmegaConf

from tests.conftest import tiny_backbone
from tests.data.arrays.helpers import array_data, write_npz, write_values
from tests.data.pairs.pair_files import pairs, rows, write_images, write_rows
from tracer_lightning.config.build import add_head, build_suite
from tracer_lightning.config.check_built import check_validation_split
from tracer_lightning.evaluation import ClassificationSuite


def pair_data(folder):
    write_images(folder, 3)
    write_rows(folder / "mine.csv", rows(3))
    return pairs(tiny_backbone().spec, folder, val="mine.csv")


def value_data(folder):
    path = write_values(folder / "values.npz", "regression", shape=(3, 32, 32))
    return array_data(path, task="regression")


@pytest.mark.parametrize(
    ("make_data", "remedy"),
    [
        (pair_data, "choose head=none with a method without a head, such as flyp, tracer or, "),
        (value_data, "choose head=values or, for maps, head=pixels"),
    ],
)
def test_a_head_of_classes_where_there_are_none(tmp_path, make_data, remedy):
    module = {"_target_": "tracer_lightning.models.heads.zero_shot_linear", "_partial_": True}
    cfg = OmegaConf.create({"head": {"name": "zero_shot", "module": module}})
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match=f"^head=zero_shot needs classes, which these data don't have; {remedy}"):
        add_head(cfg, tiny_backbone().model, make_data(tmp_path), trainer)


@pytest.mark.parametrize(
    ("make_data", "suite", "message"),
    [
        (pair_data, "ClassificationSuite", "data with captions; choose evaluation=retrieval"),
        (pair_data, "RegressionSuite", "data with captions; choose evaluation=retrieval"),
        (value_data, "RetrievalSuite", "data with values to predict; choose that of their prediction"),
    ],
)
def test_an_evaluation_of_other_data(tmp_path, make_data, suite, message):
    node = {"_target_": f"tracer_lightning.evaluation.{suite}", "_partial_": True}
    cfg, data = OmegaConf.create({"evaluation": {"test_suite": node}}), make_data(tmp_path)
    with pytest.raises(ValueError, match=f"^evaluation: the one chosen does not score {message}"):
        build_suite(cfg, "test_suite", data.eval_sets, data.suite_context(), ["student"])


class OwnSuite(ClassificationSuite):
    """A suite that passes its arguments on."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)


def test_a_suite_of_ones_own_may_pass_arguments_on(tmp_path):
    node = {"_target_": f"{__name__}.{OwnSuite.__name__}", "_partial_": True}
    data = array_data(write_npz(tmp_path / "mine.npz", shape=(3, 32, 32)))
    cfg = OmegaConf.create({"evaluation": {"test_suite": node}})
    suite = build_suite(cfg, "test_suite", data.eval_sets, data.suite_context(), ["student"])
    assert isinstance(suite, OwnSuite)


def test_pairs_without_test_sets_have_no_validation_split(tmp_path):
    with pytest.raises(ValueError, match=r"mine, is a test set; name test sets in data\.tests and, with") as error:
        check_validation_split("optimized_metric=recall_at_1", pair_data(tmp_path))
    assert "suite" not in str(error.value)
