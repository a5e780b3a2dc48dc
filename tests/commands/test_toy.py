"""What the toy experiment claims, in small."""

import json

import pytest

from tests.commands.helpers import composed, hydra_context, script
from tracer_lightning.commands.train import run
from tracer_lightning.reporting.training_curves import read_curves
from tracer_lightning.studies.toy.arms import late_mean

SMALL = (
    "backbone.embed_dim=64",
    "backbone.vision_cfg.width=64",
    "backbone.vision_cfg.layers=2",
    "backbone.text_cfg.width=32",
    "trainer.limit_val_batches=0",
)
PRETRAINED = ("data.batch_size=64", "trainer.max_steps=400", "optimizer.lr=2e-3")
ARMS = {
    "direct": "method=flyp",
    "l2": "method=l2_sp regularizers.l2_sp.weight=0.02",
    "ema": "method=sd_ema",
    "wma": "method=sd_wma",
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Where the runs are; results and logged curves by arm."""
    root = tmp_path_factory.mktemp("toy")
    arms = {}
    with hydra_context():
        for name in ("pre", *ARMS):
            (root / name).mkdir()
        run(composed(root / "pre", "experiment=toy_digits_pretrain", *SMALL, *PRETRAINED, tiny=False))
        start = f"init_weights={root / 'pre' / 'run'}"
        for name, arm in ARMS.items():
            options = (
                "experiment=toy_digits",
                *arm.split(),
                start,
                "prerequisite=null",
                *SMALL,
                "trainer.max_steps=100",
            )
            results = run(composed(root / name, *options, tiny=False))
            arms[name] = results, read_curves(root / name / "run" / "metrics.csv")
    return root, arms


def original(toy, arm):
    return toy[1][arm][0]["student"]["plain"]["accuracy"]


@pytest.mark.exhaustive
def test_all_learn_the_new_task(toy):
    for results, _ in toy[1].values():
        assert results["zero_shot"]["plain"]["accuracy"] > 0.9
        assert results["student"]["coloured"]["accuracy"] > 0.98


@pytest.mark.exhaustive
def test_direct_fine_tuning_keeps_least_and_ema_less_than_wma(toy):
    kept = {arm: original(toy, arm) for arm in ARMS}
    assert kept["direct"] < kept["l2"]
    assert kept["direct"] < kept["ema"] < kept["wma"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("measure", ["train/loss/fd", "teacher/kl"])
def test_emas_gap_vanishes_and_wmas_does_not(toy, measure):
    ema, wma = (toy[1][arm][1][measure] for arm in ("ema", "wma"))
    assert late_mean(ema) < 0.1 * late_mean(wma)
    assert late_mean(wma) > 0.02 * max(wma.values)


@pytest.mark.exhaustive
def test_wma_stays_nearer_to_the_pretrained_model_in_every_block(toy, tmp_path):
    runs = ",".join(str(toy[0] / arm / "run") for arm in ("direct", "wma"))
    options = ("models=[student]", "split=plain", "towers=[image]", f"hydra.run.dir={tmp_path}")
    status, _, stderr = script("similarity", f"first={runs}", f"second={toy[0] / 'pre' / 'run'}", *options)
    assert status == 0, stderr
    similarities = [
        comparison["inputs"]["plain"]
        for comparison in json.loads((tmp_path / "similarity.json").read_text())["comparisons"]
    ]
    direct, wma = ([row[number] for number, row in enumerate(comparison["cka"])] for comparison in similarities)
    assert all(far < near for far, near in zip(direct, wma, strict=True))
