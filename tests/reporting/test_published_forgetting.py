import csv
import io

import pytest
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tests.reporting.run_folders import set_scores, write_run
from tests.reporting.test_comparison import comparison
from tracer_lightning.reporting.comparison import select_results
from tracer_lightning.reporting.formats import markdown, raw
from tracer_lightning.reporting.published_forgetting import find_changes, find_task_accuracy
from tracer_lightning.reporting.settings import settings_of
from tracer_lightning.reporting.tables import sections

MEMBERS = {"image_id/text_task": ["imagewikiqa"], "image_ood/text_task": ["mmmu", "vmcbench"]}
QWEN = {
    "method": "sft",
    "backbone.name": "Qwen/Qwen2.5-VL-3B-Instruct",
    "method.train": ["text"],
    "optimizer.lr": 1e-6,
    "teacher": "No",
    "terms": (),
}


def results(task, wiki, exams):
    sets = {"imagenet_vqa": set_scores(task, role="id"), "imagewikiqa": set_scores(wiki, role="other")}
    sets |= {name: set_scores(exams, role="other") for name in ("mmmu", "vmcbench")}
    cells = {"image_id/text_task": wiki, "image_ood/text_task": exams}
    return {**sets, **{name: {"sets": MEMBERS[name], "accuracy": cells[name]} for name in MEMBERS}}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([], (0.9137, 0.0106, -0.0151)),
        pytest.param(["optimizer.lr=1e-5"], (0.9156, -0.1656, -0.3364), marks=pytest.mark.slow),
        (["peft=lora_all", "optimizer.lr=1e-4"], (0.9108, 0.0046, -0.0297)),
        pytest.param(["method.train=[connector]"], (0.8686, 0.0026, 0.0005), marks=pytest.mark.slow),
    ],
)
def test_rows_are_those_of_the_experiment(changed, expected, tmp_path):
    with hydra_context():
        content = composed(tmp_path, "experiment=mllm_imagenet_vqa", "data.root=/data", *changed, tiny=False)
    settings = settings_of(OmegaConf.to_container(content, resolve=True))
    changes = find_changes(settings, MEMBERS)
    found = (find_task_accuracy(settings, "imagenet_vqa"), *(changes[cell] for cell in MEMBERS))
    assert [entry.value for entry in found] == pytest.approx(expected)
    assert {(entry.table, entry.source) for entry in found} == {(1, "arXiv:2603.14493")}


@pytest.mark.parametrize("changed", [{"optimizer.lr": 2e-6}, {"peft.name": "lora"}, {"backbone.name": "other"}])
def test_other_settings_were_not_published(changed, tmp_path):
    write_run(tmp_path / "run", results(0.9, 0.5, 0.5), zero_shot=results(0.8, 0.5, 0.5), **{**QWEN, **changed})
    result = comparison(tmp_path)
    assert "ublished" not in markdown(sections(result, select_results(result, None, None)))


def test_the_comparison_shows_published_accuracy_and_changes(tmp_path):
    for rate in (1e-6, 1e-5):
        write_run(
            tmp_path / str(rate),
            results(0.90, 0.52, 0.44),
            zero_shot=results(0.80, 0.50, 0.45),
            **{**QWEN, "optimizer.lr": rate},
        )
    result = comparison(tmp_path)
    text = markdown(sections(result, select_results(result, None, None)))
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| optimizer.lr=")]
    assert rows[0][2:5] == ["90.00", "91.37", "−1.37"]
    low, high = rows[-2:]
    assert low[-6:] == ["+2.00", "+1.06", "+0.94", "−1.00", "−1.51", "+0.51"]
    assert high[-6:] == ["+2.00", "−16.56", "+18.56", "−1.00", "−33.64", "+32.64"]
    assert text.count("Published: Table 1 of arXiv:2603.14493.") == 2
    entries = [row for row in csv.DictReader(io.StringIO(raw(result))) if row["metric"] == "gain"]
    assert [row["data_set"] for row in entries] == [*MEMBERS, *MEMBERS]
    assert {row["published_source"] for row in entries} == {"arXiv:2603.14493"}
