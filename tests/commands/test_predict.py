"""Classifying and embedding images without labels, as a user would."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.commands.helpers import ROOT, make_shards, script, slow
from tests.config.test_untrusted import TINY_BACKBONE
from tests.conftest import tiny_backbone
from tests.images import random_pixels, write_image
from tracer_lightning.commands.predict import fitted_temperature
from tracer_lightning.config.backbones import finished_backbone
from tracer_lightning.data.images.transforms import EvalCrop
from tracer_lightning.models.value_heads import PixelHead, ValueHead
from tracer_lightning.storage.run_layout import CHECKPOINT, CLASSES

CLASSNAMES = ("cat", "dog", "owl")
TEXTS = ("classes=[cat,dog,owl]", "templates=['a photo of a {c}.']", "num_workers=0")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight images of each class, one of which is damaged, and notes."""
    root = tmp_path_factory.mktemp("photos")
    for split in ("train", "test"):
        for number, name in enumerate(CLASSNAMES):
            for index in range(8):
                write_image(root / split / name / f"{index}.png", random_pixels(seed=10 * number + index))
    (root / "test/dog/damaged.jpg").write_bytes(b"no image")
    (root / "test/dog/notes.txt").write_text("none")
    return root


def predictions(out):
    with out.open() as file:
        return list(csv.DictReader(file))


def predict(finished_run, out, *arguments):
    status, stdout, stderr = script("predict", f"checkpoint={finished_run.folder}", f"out={out}", *arguments)
    assert status == 0, stderr
    return predictions(out), stdout


@pytest.fixture(scope="module")
def predicted(finished_run, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("predicted") / "new/predictions.csv"
    return predict(finished_run, out, f"images={photos}/test", *TEXTS)


def test_every_image_has_a_row_and_those_that_cannot_be_read_are_named(photos, predicted):
    rows, stdout = predicted
    assert [row["image"] for row in rows] == sorted(map(str, [*photos.glob("test/*/*.png"), *photos.glob("**/*.jpg")]))
    assert f"can't be read: {photos}/test/dog/damaged.jpg" in stdout
    (damaged,) = (row for row in rows if row["image"].endswith("damaged.jpg"))
    assert set(damaged.values()) == {str(photos / "test/dog/damaged.jpg"), ""}


def test_probabilities_descend_and_are_those_of_all_classes(predicted):
    for row in predicted[0]:
        if row["class_1"]:
            shares = [float(row[f"probability_{place}"]) for place in (1, 2, 3)]
            assert {row[f"class_{place}"] for place in (1, 2, 3)} == set(CLASSNAMES)
            assert shares == sorted(shares, reverse=True)
            assert sum(shares) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_predictions_are_those_of_the_evaluation(finished_run, photos, predicted, tmp_path):
    settings = ("data=image_folder", f"data.root={photos}", "data.texts.templates=['a photo of a {c}.']")
    options = ("data.num_workers=0", "data.max_bad_fraction=0.5", f"hydra.run.dir={tmp_path}", "models=[student]")
    status, _, stderr = script("evaluate", f"checkpoint={finished_run.folder}", *settings, *options)
    assert status == 0, stderr
    (scores,) = (
        scores
        for name, scores in json.loads((tmp_path / "evaluation.json").read_text())["student"].items()
        if name == photos.name
    )
    right = [f"/{row['class_1']}/" in row["image"] for row in predicted[0] if row["class_1"]]
    assert scores["n"] == len(right) == 24
    assert scores["accuracy"] == pytest.approx(sum(right) / len(right))


@pytest.mark.slow
def test_shards_and_patterns_have_the_predictions_of_the_folder(finished_run, photos, predicted, tmp_path):
    expected = sorted((row["class_1"], row["probability_1"]) for row in predicted[0] if row["class_1"])
    assert make_shards(["folder", f"{photos}/train", "--out", f"{tmp_path}/shards", "--max-samples", "10"]) == 0
    for images in (f"{tmp_path}/shards/train", f"{photos}/test/*/*.png"):
        rows, _ = predict(finished_run, tmp_path / "out.csv", f"images='{images}'", *TEXTS)
        assert sorted((row["class_1"], row["probability_1"]) for row in rows) == expected


@pytest.mark.slow
def test_two_processes_have_the_predictions_of_one(finished_run, photos, predicted, tmp_path):
    command = [sys.executable, str(ROOT / "scripts/predict.py"), f"checkpoint={finished_run.folder}"]
    processes = (
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "batch_size=5",
        f"out={tmp_path}/two.csv",
    )
    subprocess.run([*command, f"images={photos}/test", *TEXTS, *processes], check=True, capture_output=True)
    assert predictions(tmp_path / "two.csv") == predicted[0]


def test_the_classes_of_the_run_are_the_default(finished_run, photos, tmp_path):
    known = json.loads((finished_run.folder / CLASSES).read_text())
    image = f"images={photos}/test/cat/0.png"
    (row,), _ = predict(finished_run, tmp_path / "out.csv", image, "top=1", "num_workers=0")
    assert row.keys() == {"image", "class_1", "probability_1"}
    assert row["class_1"] in known["classnames"]
    assert len(known["classnames"]) == 10
    assert all("{c}" in template for template in known["templates"])


def test_a_temperature_is_a_number_or_that_of_an_evaluation(tmp_path, capsys):
    fitted = {"student": {"temperature": 1.5}, "teacher": {"temperature": 2.5}}
    (tmp_path / "evaluation.json").write_text(json.dumps({"checkpoint": "outputs/mine", "temperature": fitted}))
    assert fitted_temperature(2, "student") == 2.0
    assert fitted_temperature(str(tmp_path), "teacher") == 2.5
    assert "temperature 2.5, fitted for the teacher of outputs/mine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("temperature", "message"),
    [(0, "temperature must be > 0"), ("nowhere", "neither a number nor a folder"), (".", "has no temperature")],
)
def test_temperatures_that_cannot_be_used(tmp_path, monkeypatch, temperature, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evaluation.json").write_text('{"temperature": {}}')
    with pytest.raises(ValueError, match=message):
        fitted_temperature(temperature, "student")


def embed(finished_run, out, *arguments):
    status, stdout, stderr = script("embed", f"checkpoint={finished_run.folder}", f"out={out}", *arguments)
    assert status == 0, stderr
    with out.with_suffix(".csv").open() as file:
        return np.load(out), list(csv.DictReader(file)), stdout


@pytest.fixture(scope="module")
def student(finished_run):
    from tests.commands.helpers import composed, hydra_context

    with hydra_context():
        cfg = composed(finished_run.folder.parent)
    return finished_backbone(cfg, finished_run.folder / CHECKPOINT, "checkpoint")


@torch.no_grad()
def test_features_of_images(finished_run, photos, student, tmp_path):
    features, rows, stdout = embed(finished_run, tmp_path / "features.npy", f"images={photos}/test", "num_workers=0")
    assert "can't be read" in stdout
    assert [row["image"] for row in rows] == sorted(map(str, photos.glob("test/*/*.png")))
    spec, image = student.spec, (photos / "test/cat/0.png").read_bytes()
    pixels = EvalCrop(spec, "torchvision")(image, np.random.default_rng()) / 255
    pixels = (pixels - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]
    expected = student.model.eval().encode_image(pixels[None])[0]
    assert features.dtype == np.float32
    assert features[0] == pytest.approx(expected.numpy(), abs=1e-5)


@torch.no_grad()
def test_features_of_texts(finished_run, student, tmp_path):
    (tmp_path / "captions.txt").write_text("a cat\ntwo dogs, one owl\n")
    features, rows, _ = embed(finished_run, tmp_path / "features.npy", f"texts={tmp_path}/captions.txt")
    assert [row["text"] for row in rows] == ["a cat", "two dogs, one owl"]
    expected = student.model.eval().encode_text(student.spec.tokenize(["a cat", "two dogs, one owl"]))
    assert features == pytest.approx(expected.numpy(), abs=1e-5)


def test_parquet_has_a_column_of_names_and_one_of_features(finished_run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "features.parquet"
    status, _, stderr = script("embed", f"checkpoint={finished_run.folder}", f"out={out}", "texts=[a cat,a dog]")
    assert status == 0, stderr
    table = parquet.read_table(out)
    assert table["text"].to_pylist() == ["a cat", "a dog"]
    assert np.linalg.norm(table["features"].to_pylist(), axis=1) == pytest.approx([1, 1])


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys):
    """Runs a command with the weights of a tiny model with a head; the line with which it refuses."""
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "photos/0.png", random_pixels(seed=0))

    def refuse(command, head, *arguments):
        model = tiny_backbone().model
        model.head = head
        weights = {f"student.{name}": value for name, value in model.state_dict().items()}
        torch.save({"state_dict": weights}, "weights.pt")
        status, _, stderr = script(command, "checkpoint=weights.pt", *TINY_BACKBONE, *arguments)
        assert status == 1
        assert stderr.count("\n") == 1
        return stderr

    return refuse


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_where_no_image_can_be_read_there_is_no_file(refusal, tmp_path, command):
    (tmp_path / "photos/0.png").write_bytes(b"no image")
    message = refusal(
        command, torch.nn.Linear(16, 3), "images=photos", *TEXTS[: 2 * (command == "predict")], "num_workers=0"
    )
    assert "images: none of them can be read" in message
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize("head", [ValueHead(16, 2), PixelHead(16, 4, (32, 32))], ids=["values", "pixels"])
def test_a_head_of_values_does_not_classify(refusal, head):
    message = refusal("predict", head, "images=photos", "classes=[cat,dog]")
    assert (
        "checkpoint=weights.pt: the model's head predicts values and not classes; evaluate it, or classify" in message
    )


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("predict", ["classes=[cat,dog]"], "has 3 classes and the data have 2; "),
        ("predict", ["classes=[cat,dog,owl]", "model=teacher"], "model=teacher: weights.pt holds none; choose"),
        ("predict", [], "classes is not set, and there is no classes.json beside weights.pt; give a list, or a file"),
        ("predict", ["classes=[cat,dog,owl]", "out=photos"], "out=photos: a folder; give the path of a file"),
        ("predict", ["classes=[cat,dog,owl]", "out=weights.pt/x.csv"], "out=weights.pt/x.csv: can't be written to"),
        ("embed", ["out=weights.pt/x.npy"], "out=weights.pt/x.npy: can't be written to"),
        ("embed", ["model=teacher"], "model=teacher: weights.pt holds none; choose model=student"),
        ("embed", ["texts=gone.txt", "images=null"], "texts: there is no file gone.txt; give a list, or a file with"),
        ("embed", ["texts=[]", "images=null"], "texts: there is none; give a list, or a file with one text a line"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(refusal, command, arguments, message):
    assert f"error: {message}" in refusal(command, torch.nn.Linear(16, 3), "images=photos", *arguments).replace(
        "error: the head of weights.pt ", "error: "
    )


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("predict", ["images=nowhere"], "error: images: 'nowhere' is no folder of images or shards"),
        slow("predict", ["images=.", "classes=gone.txt"], "error: classes: there is no file gone.txt"),
        slow("predict", ["images=.", "classes=[cat]", "templates=[a photo]"], "lacks the placeholder {c}"),
        ("predict", ["images=.", "top=0"], "error: top must be a whole number >= 1, found 0"),
        ("embed", [], "error: images and texts are both null, or both set"),
        slow("embed", ["images=.", "out=features.txt"], "error: out must end in .npy or .parquet"),
    ],
)
def test_mistakes_are_one_line(finished_run, tmp_path, monkeypatch, command, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, stderr = script(command, f"checkpoint={finished_run.folder}", *arguments)
    assert status == 1
    assert message in stderr
    assert stderr.count("\n") == 1
