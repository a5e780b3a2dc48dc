"""The ten tasks of NAS-Bench-360 run a step on arrays of their shapes."""

from pathlib import Path

import pytest
import yaml

from tests.commands.helpers import composed, hydra_context
from tests.conftest import CONF
from tests.data.nas_bench_360.stand_ins import write_arrays
from tracer_lightning.alignment.objective import DISTANCE_SHARE
from tracer_lightning.commands.train import run
from tracer_lightning.data.nas_bench_360 import TASKS

QUICK = (
    *("trainer.fast_dev_run=1", "trainer.accelerator=cpu", "trainer.accumulate_grad_batches=1"),
    *("data.batch_size=2", "data.eval_batch_size=2", "scheduler.warmup_steps=null"),
    *("data@align.source=digits", "align.steps=4", "align.samples=4", "align.source_samples=20"),
)
PRIMARY = {
    **dict.fromkeys(("cifar100", "spherical", "ninapro", "satellite"), "error"),
    **{"ecg": "macro_f1_error", "fsd50k": "map_error", "deepsea": "auroc_error"},
    **{"darcy": "relative_l2", "psicov": "mae", "cosmic": "auroc_error"},
}
SAMPLED = ("ecg", "cosmic")


def read_experiment(name):
    return yaml.safe_load((Path(CONF) / "experiment" / f"{name}.yaml").read_text())


def test_stage_1_is_that_of_the_released_code_as_far_as_settings_go():
    shared = read_experiment("nb360")["align"]
    assert (shared["steps"] * DISTANCE_SHARE, shared["distance"], shared["space"]) == (60, "sinkhorn", "tokens")
    for name in TASKS:
        experiment = read_experiment(f"nb360_{name}")
        assert experiment["align"]["lr"] == pytest.approx(10 * experiment["optimizer"]["lr"])
        assert experiment["align"].get("samples", 128) == (64 if name in ("psicov", "deepsea") else 128)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] * (name not in SAMPLED)) for name in TASKS]
)
def test_a_task_runs_a_step(tmp_path, name):
    arrays = write_arrays(tmp_path / "arrays", name)
    with hydra_context():
        results = run(composed(tmp_path, *QUICK, f"experiment=nb360_{name}", f"data.root={arrays}"))
    assert results["headline"] == PRIMARY[name]
    assert results["metrics"][PRIMARY[name]]["better"] == "lower"
    assert not results["validation_is_test_set"]
    for model in ("before", "student"):
        value = results[model]["arrays"][PRIMARY[name]]
        assert value is None or value >= 0  # an area has no value where all samples agree
