"""Runs on pairs: retrieval beside labelled sets, in results, reports, evaluations, merges and comparisons."""

import json

import pytest

from tests.commands.helpers import composed, hydra_context, script
from tests.data.pairs.pair_files import rows, write_images, write_rows
from tests.data.shards.helpers import write
from tracer_lightning.commands.train import run, train

pytestmark = pytest.mark.slow
METRICS = {
    *("recall_at_1", "i2t_recall_at_1", "i2t_recall_at_5", "i2t_recall_at_10", "i2t_median_rank"),
    *("t2i_recall_at_1", "t2i_recall_at_5", "t2i_recall_at_10", "t2i_median_rank"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Pairs for training and test, and a labelled set of shards."""
    root = tmp_path_factory.mktemp("pairs")
    write_images(root, 140)
    write_rows(root / "mine.csv", rows(130, captions=2))
    write_rows(root / "far.csv", rows(140)[130:])
    write(root / "grey", "test", 9)
    return root


def settings(root, *overrides):
    data = ("data=pairs", f"data.root={root}", "data.file=mine.csv", "data.batch_size=10", "data.num_workers=0")
    others = ("+suite.grey={folder:grey,split:test,role:other}", f"paths.cache={root}/cache", "positives=diagonal")
    return (*data, *others, "method=flyp", *overrides)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, root):
    """A start, and a run from it."""
    folder = tmp_path_factory.mktemp("runs")
    with hydra_context():
        (folder / "start").mkdir()
        run(composed(folder / "start", *settings(root, "trainer.max_epochs=1", "~suite.grey")))
        (folder / "tuned").mkdir()
        start = f"init_weights={folder}/start/run"
        results = run(composed(folder / "tuned", *settings(root, start, "+data.tests.far.file=far.csv")))
    return folder, results


def test_results_have_retrieval_and_classification(finished):
    folder, results = finished
    for model in ("zero_shot", "student"):
        assert set(results[model]["far"]) > METRICS
        assert results[model]["far"]["n"] == 10
        assert {"accuracy", "ece", "macro_f1"} < set(results[model]["grey"])
        assert results[model]["avg_other"]["sets"] == ["grey"]
    assert set(results["validation"]["mine"]) == METRICS
    assert results["headline"] == "recall_at_1"
    assert results["validation_is_test_set"] is False
    page = (folder / "tuned/run/report.html").read_text()
    for text in ("ID recall@1", "other accuracy", "Histogram of ranks, image-to-text", "worst pairs", "picture 13"):
        assert text in page
    details = json.loads((folder / "tuned/run/details.json").read_text())
    assert sum(details["student"]["far"]["ranks"]["t2i"]["n"]) == 10


def test_a_search_optimizes_retrieval(tmp_path, root, finished):
    folder, _ = finished
    overrides = ("trainer.max_epochs=1", "+data.tests.far.file=far.csv", f"init_weights={folder}/start/run")
    with hydra_context():
        for metric in ("t2i_recall_at_1", "accuracy"):
            (tmp_path / metric).mkdir()
        cfg = composed(tmp_path / "t2i_recall_at_1", *settings(root, *overrides, "optimized_metric=t2i_recall_at_1"))
        value = train(cfg)
        assert 0.0 <= value <= 1.0
        with pytest.raises(ValueError, match="optimized_metric=accuracy: the validation set mine does not have it"):
            train(composed(tmp_path / "accuracy", *settings(root, *overrides, "optimized_metric=accuracy")))


@pytest.mark.parametrize(("removed", "left"), [("~suite.grey", {"far"}), ("~data.tests.far", {"mine", "grey"})])
def test_a_test_set_is_left_out_of_an_evaluation(tmp_path, finished, removed, left):
    """Without a test set of pairs, recall is that of validation."""
    folder, results = finished
    status, _, err = script("evaluate", f"checkpoint={folder}/tuned/run", removed, f"hydra.run.dir={tmp_path}")
    assert status == 0, err
    student = json.loads((tmp_path / "evaluation.json").read_text())["student"]
    assert student.keys() - {"avg_other"} == left
    assert all(student[name] == results["student"][name] for name in left - {"mine"})


def test_finished_runs_are_evaluated_merged_and_compared(tmp_path, finished):
    folder, results = finished
    tuned = f"checkpoint={folder}/tuned/run"
    status, out, err = script("evaluate", tuned, f"hydra.run.dir={tmp_path}/evaluation")
    assert status == 0, err
    evaluation = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert evaluation["student"]["far"] == results["student"]["far"]
    assert "median rank" in out
    status, out, err = script("merge", "wise_ft", tuned, "alpha=0,1", f"hydra.run.dir={tmp_path}/merge")
    assert status == 0, err
    assert "ID recall@1" in out
    merged = json.loads((tmp_path / "merge/merge.json").read_text())["scores"]
    assert merged["0"]["far"] == results["zero_shot"]["far"]
    assert merged["1"]["far"] == results["student"]["far"]
    assert (tmp_path / "merge/id_other.png").exists()
    status, out, err = script("collect", f"{folder}/tuned/run")
    assert status in (0, None), err
    assert "recall@1 or accuracy" in " ".join(out.split())
    frontier = ("--frontier", "--out", f"{tmp_path}/frontier")
    status, out, err = script("collect", f"{folder}/tuned/run", str(tmp_path / "merge"), *frontier)
    assert status in (0, None), err
    assert "at equal ID recall@1" in out


@pytest.mark.parametrize(
    ("run_name", "library"),
    [("start", None), ("tuned", "transformers"), pytest.param("tuned", "onnx", marks=pytest.mark.exhaustive)],
)
def test_finished_runs_are_exported(tmp_path, root, finished, run_name, library):
    if library is not None:
        pytest.importorskip("onnxruntime" if library == "onnx" else library)
    folder, _ = finished
    chosen = () if library is None else (f"format={library}",)
    status, _, err = script("export", f"checkpoint={folder}/{run_name}/run", f"out={tmp_path}/out", *chosen)
    assert status == 0, err
    card = (tmp_path / "out/README.md").read_text()
    assert "| data set | role | n | recall@1, % before |" in card
    assert ("| grey | other | 9 |" in card) == (run_name == "tuned")


def test_commands_for_classes_refuse_pairs(finished):
    folder, _ = finished
    status, _, err = script("diagnose", f"checkpoint={folder}/tuned/run")
    assert status == 1
    assert "no training classes" in err
