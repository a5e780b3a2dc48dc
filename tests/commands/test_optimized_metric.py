"""What a job returns to a search."""

from dataclasses import dataclass

import pytest
import torch
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tracer_lightning.commands.cli import task
from tracer_lightning.commands.evaluate import order_sets
from tracer_lightning.commands.train import objective, train
from tracer_lightning.config.check_built import check_built
from tracer_lightning.data import DataModule
from tracer_lightning.engine.validation import logged_validation
from tracer_lightning.types import EvalSet


@dataclass
class Data:
    val_set: EvalSet
    eval_sets: tuple
    validation_remedy = DataModule.validation_remedy

    def about_validation(self):
        return ""


HELD_OUT = Data(EvalSet("pets", "val", "id"), (EvalSet("pets", "test", "id"),))
SEPARATE = Data(EvalSet("pets-held-out", "val", "id"), (EvalSet("pets", "test", "id"),))
WATCHED = Data(EvalSet("pets", "test", "id"), (EvalSet("pets", "test", "id"),))


def searched_by(metric, callbacks=()):
    return OmegaConf.create({"optimized_metric": metric, "callbacks": dict(callbacks)})


def test_only_figures_of_a_validation_split_are_searched_by():
    check_built(searched_by(None), WATCHED)
    check_built(searched_by("ece"), HELD_OUT)
    with pytest.raises(
        ValueError, match=r"optimized_metric=ece: these data have no validation split, .* pets, is a test set"
    ):
        check_built(searched_by("ece"), WATCHED)
    stopping = {"stopping": {"monitor": "val/pets/accuracy"}}
    check_built(searched_by(None, stopping), HELD_OUT)
    with pytest.raises(ValueError, match=r"callbacks\.stopping\.monitor=val/pets/accuracy: these data have no"):
        check_built(searched_by(None, stopping), WATCHED)


def test_no_temperature_is_fitted_on_a_test_set_that_is_called_val():
    assert [entry[:3] for entry in order_sets(HELD_OUT, "val")] == [("pets-val", "val", "val"), ("pets", "test", "id")]
    with pytest.raises(ValueError, match="temperature=val: these data have no validation split"):
        order_sets(WATCHED, "val")


def test_validation_images_are_no_test_set_whatever_their_name():
    assert [(entry.name, entry.role) for entry in order_sets(SEPARATE, "val")] == [
        ("pets-held-out", "val"),
        ("pets", "id"),
    ]
    tested = Data(SEPARATE.val_set, SEPARATE.eval_sets[1:])
    assert [(entry.name, entry.role) for entry in order_sets(tested, "pets")] == [("pets", "id")]


def test_validation_is_picked_from_what_was_logged():
    logged = {
        "val/pets/ece": torch.tensor(0.25),
        "test/pets/ece": torch.tensor(1.0),
        "train/loss/total": torch.tensor(2.0),
    }
    assert logged_validation(logged) == {"pets": {"ece": 0.25}}


def test_results_or_their_figure_are_returned():
    results = {"validation": {"pets": {"ece": 0.25, "accuracy": 0.5}}}
    assert objective(results, None) is results
    assert objective(results, "ece") == 0.25
    with pytest.raises(ValueError, match="optimized_metric=ece: there is no validation"):
        objective({"validation": {}}, "ece")


@pytest.mark.slow
def test_a_run_returns_its_last_validation(tmp_path, capsys):
    with hydra_context():
        with pytest.raises(SystemExit):
            task(composed(tmp_path, "optimized_metric=loss"), user_wants_traceback=False, job=train)
        accuracy = task(composed(tmp_path, "optimized_metric=accuracy"), user_wants_traceback=False, job=train)
        again = train(composed(tmp_path, "optimized_metric=accuracy", "resume=auto"))
    assert 0 < accuracy < 1
    assert again == accuracy  # of a run that had ended
    assert "error: optimized_metric must be null or" in capsys.readouterr().err
