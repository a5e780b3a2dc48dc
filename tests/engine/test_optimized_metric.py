"""What a job returns to a search."""

from dataclasses import dataclass

import pytest
import torch

from tests.commands.helpers import composed, hydra_context
from tracer_lightning.commands.cli import task
from tracer_lightning.commands.evaluate import ordered_sets
from tracer_lightning.engine.optimized_metric import check_optimized_metric, logged_validation, returned
from tracer_lightning.engine.run import train
from tracer_lightning.types import EvalSet


@dataclass
class Data:
    val_set: EvalSet
    eval_sets: tuple

    def about_validation(self):
        return ""


HELD_OUT = Data(EvalSet("pets", "val", "id"), (EvalSet("pets", "test", "id"),))
WATCHED = Data(EvalSet("pets", "test", "id"), (EvalSet("pets", "test", "id"),))


def test_only_figures_of_a_validation_split_are_searched_by():
    check_optimized_metric(None, WATCHED)
    check_optimized_metric("ece", HELD_OUT)
    with pytest.raises(
        ValueError, match="optimized_metric must be null or one of accuracy, ece, macro_f1, found 'loss'"
    ):
        check_optimized_metric("loss", HELD_OUT)
    with pytest.raises(
        ValueError, match=r"optimized_metric=ece: these data have no validation split, .* pets, is a test set"
    ):
        check_optimized_metric("ece", WATCHED)


def test_no_temperature_is_fitted_on_a_test_set_that_is_called_val():
    assert [entry.name for entry in ordered_sets(HELD_OUT, "val")] == ["pets-val", "pets"]
    with pytest.raises(ValueError, match="temperature=val: these data have no validation split"):
        ordered_sets(WATCHED, "val")


def test_validation_is_picked_from_what_was_logged():
    logged = {
        "val/pets/ece": torch.tensor(0.25),
        "test/pets/ece": torch.tensor(1.0),
        "train/loss/total": torch.tensor(2.0),
    }
    assert logged_validation(logged) == {"pets": {"ece": 0.25}}


def test_results_or_their_figure_are_returned():
    results = {"validation": {"pets": {"ece": 0.25, "accuracy": 0.5}}}
    assert returned(results, None) is results
    assert returned(results, "ece") == 0.25
    with pytest.raises(ValueError, match="optimized_metric=ece: there is no validation"):
        returned({"validation": {}}, "ece")


def test_a_run_returns_its_last_validation(tmp_path, capsys):
    with hydra_context():
        with pytest.raises(SystemExit):
            task(composed(tmp_path, "optimized_metric=loss"), user_wants_traceback=False, job=train)
        accuracy = task(composed(tmp_path, "optimized_metric=accuracy"), user_wants_traceback=False, job=train)
        again = train(composed(tmp_path, "optimized_metric=accuracy", "resume=auto"))
    assert 0 < accuracy < 1
    assert again == accuracy  # of a run that had ended
    assert "error: optimized_metric must be null or" in capsys.readouterr().err
