"""The page about a run."""

import json
import re
from html.parser import HTMLParser

import lightning.pytorch as pl
import pytest

from tests.commands.helpers import composed, hydra_context
from tests.training_helpers import make_data, make_module, make_trainer
from tracer_lightning.callbacks import Report, TeacherStatistics, report
from tracer_lightning.commands.train import run
from tracer_lightning.engine.csv_logger import ContinuedCSVLogger
from tracer_lightning.reporting.report.numbers import change, format_number, ticks
from tracer_lightning.reporting.report.page import render
from tracer_lightning.reporting.report.record import RunRecord
from tracer_lightning.reporting.training_curves import Curve, read_curves

VOID = {"meta", "link", "br", "img"}
LOADING = {"src", "srcset", "href", "xlink:href", "data", "action", "poster"}


class Page(HTMLParser):
    """Elements of a page; fails where one is not closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen, self.text, self.svg_text = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closed at {self.getpos()}"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    def all(self, tag):
        return [attributes for name, attributes in self.seen if name == tag]


def assert_complete_in_itself(html):
    page = Page(html)
    assert not page.all("script")
    for tag, attributes in page.seen:
        for name in LOADING & set(attributes):
            target = attributes[name]
            assert target.startswith(("#", "data:")) or (tag == "a" and "://" not in target), (tag, target)
    assert not re.search(r"@import|url\(", html)
    assert page.all("html")[0]["lang"] == "en"
    assert all(svg.get("aria-label") and svg["role"] == "img" for svg in page.all("svg"))
    ids = [attributes["id"] for _, attributes in page.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"] for attributes in page.all("a") if attributes["href"].startswith("#")}
    assert links <= {f"#{name}" for name in ids}
    return page


@pytest.fixture(scope="module")
def finished(finished_run):
    return finished_run.folder


def test_the_report_contains_the_numbers_of_the_run(finished):
    html = (finished / "report.html").read_text()
    page = assert_complete_in_itself(html)
    assert len(html) < 3e6
    results = json.loads((finished / "results.json").read_text())
    for model in ("zero_shot", "student", "teacher"):
        for scores in results[model].values():
            for metric in ("accuracy", "ece", "macro_f1"):
                assert f"{100 * scores[metric]:.1f}" in page.words
    assert "digits · tracer · seed 0" in page.words
    for text in ("total loss", "info_nce", "cross_kd", "learning rate (AdamW)", "KL(teacher ‖ student)", "entropy"):
        assert text in page.words, text
    for text in (
        "confidence",
        "spurious: accuracy",
        "mean OOD: over plain, inverted",
        "optimizer.lr",
        "seven",
    ):
        assert text in page.words, text
    labels = [svg["aria-label"] for svg in page.all("svg")]
    assert sum(label.startswith("Reliability diagram") for label in labels) == 3 * 10
    assert "did not finish" not in page.words
    assert not page.all("img")  # images are shown on request only
    assert all((finished / link["href"]).exists() for link in page.all("a") if not link["href"].startswith("#"))


def test_statistics_are_logged_where_losses_are(finished):
    curves = read_curves(finished / "metrics.csv")
    assert curves["teacher/kl"].steps == curves["train/loss/total"].steps == list(range(8))


@pytest.mark.slow
def test_without_a_teacher_the_report_does_not_mention_one(tmp_path):
    with hydra_context():
        run(composed(tmp_path, "method=flyp", "logger=csv"))
    page = assert_complete_in_itself((tmp_path / "run/report.html").read_text())
    shown = page.words.split("Settings Resolved settings")[0]
    assert "teacher" not in shown.lower()
    assert "entropy" in shown


class Stop(pl.Callback):
    """Ends a run."""

    def __init__(self, step, error):
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise self.error


def fit(path, *callbacks, test=True, checkpoint=None, checkpoint_every=None, steps=4):
    """Test, fit, test, as a run does."""
    data = make_data(400)
    module = make_module(data)
    module.save_hyperparameters({"name": "tiny", "note": "<img src=https://elsewhere/x>&amp;"})
    trainer = make_trainer(
        path,
        steps,
        [TeacherStatistics(1), Report(str(path)), *callbacks],
        logger=ContinuedCSVLogger(path, name="", version=""),
        log_every_n_steps=1,
        checkpoint_every=checkpoint_every,
    )
    if checkpoint:
        trainer.logger.continue_from(3)
    if test:
        trainer.test(module, datamodule=data, verbose=False)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    trainer.test(module, datamodule=data, verbose=False)
    return trainer


@pytest.mark.parametrize(
    ("error", "ends", "told"),
    [
        pytest.param(KeyboardInterrupt(), SystemExit, "it was interrupted", marks=pytest.mark.slow),
        (RuntimeError("<b>no</b> memory"), RuntimeError, "RuntimeError: <b>no</b> memory"),
    ],
)
def test_a_failed_run_writes_a_report(tmp_path, error, ends, told):
    with pytest.raises(ends):
        fit(tmp_path, Stop(3, error))
    page = assert_complete_in_itself((tmp_path / "report.html").read_text())
    assert f"This run did not finish : {told}" in page.words
    assert "before training" in page.words
    assert "total loss" in page.words
    assert "steps 3" in page.words
    assert "results.json" not in page.words
    assert "<b>no</b>" not in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_settings_are_text(tmp_path):
    fit(tmp_path)
    page = assert_complete_in_itself((tmp_path / "report.html").read_text())
    assert "<img src=https://elsewhere/x>&amp;" in page.words
    assert not page.all("img")


@pytest.mark.slow
def test_a_resumed_run_shows_its_complete_curves(tmp_path):
    with pytest.raises(RuntimeError):
        fit(tmp_path, Stop(4, RuntimeError()), checkpoint_every=3, steps=6)
    fit(tmp_path, checkpoint=tmp_path / "step=3.ckpt", steps=6)
    assert read_curves(tmp_path / "metrics.csv")["teacher/kl"].steps == list(range(6))
    page = Page((tmp_path / "report.html").read_text())
    assert "steps 6 continued at step 3" in page.words
    assert "did not finish" not in page.words


@pytest.mark.slow
def test_a_run_without_a_test_before_training_is_reported(tmp_path):
    fit(tmp_path, test=False)
    assert "total loss" in assert_complete_in_itself((tmp_path / "report.html").read_text()).words


@pytest.mark.slow
def test_only_rank_zero_writes_the_report(tmp_path, monkeypatch):
    monkeypatch.setattr(pl.Trainer, "is_global_zero", property(lambda self: False))
    fit(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_failed_report_does_not_fail_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "render", lambda record: 1 / 0)
    with pytest.warns(UserWarning, match=r"report.html could not be written: ZeroDivisionError"):
        assert fit(tmp_path).global_step == 4


def record(classes, sets, hostile="x", called="set", **changes):
    """A run of any size, with numbers at their limits."""
    names = [f"{called} {number}" for number in range(sets)]

    def scores(accuracy):
        return {
            name: {
                "split": "test",
                "role": "ood" if place else "id",
                "n": 10 * classes,
                "accuracy": accuracy,
                "ece": float("nan"),
                "macro_f1": 1.0,
            }
            for place, name in enumerate(names)
        }

    detail = {
        "classes": {"n": [10] * (classes - 1) + [0], "correct": [number % 11 for number in range(classes)]},
        "bins": {name: [float("nan")] * 11 for name in ("n", "correct", "confidence")},
    }
    models = ("zero_shot", "student")
    fields = {
        "title": hostile,
        "settings": {"a": {"b": [1, None, hostile], "c": {}}, "d": True, "primary_metric": "macro_f1"},
        "scores": {model: scores(value) for model, value in zip(models, (1.0, 0.0), strict=True)},
        "details": {model: dict.fromkeys(names, detail) for model in models},
        "labels": {name: [f"{hostile} {number}" for number in range(classes)] for name in names},
        "curves": {"train/loss/total": Curve([5], [0.0]), "train/loss/x": Curve([], [], 3)},
        "facts": {"date": hostile},
        "versions": {},
        "files": {},
    }
    return RunRecord(**(fields | changes))


@pytest.mark.parametrize(("classes", "sets"), [(2, 1), (10, 2), (1000, 14)])
def test_any_size_and_hostile_names(classes, sets):
    hostile = "</title><script>alert('\"x\"')</script>{{ 7 * 7 }}"
    html = render(record(classes, sets, hostile, hostile if classes == 10 else "set"))
    page = assert_complete_in_itself(html)
    assert hostile in page.words
    assert len(page.all("svg")) == 1 + 2 * min(sets, 12)
    assert len(html) < 1e6
    assert ("2 further data sets" in page.words) == (sets == 14)


@pytest.mark.parametrize("value", [0.0, 0.4, 0.5, 1.0])
def test_scores_may_all_be_equal(value):
    alike = record(2, 1)
    for scores in alike.scores.values():
        scores["set 0"]["accuracy"] = value
    assert_complete_in_itself(render(alike._replace(settings=alike.settings | {"primary_metric": "accuracy"})))


def test_a_run_without_any_data_is_reported():
    page = assert_complete_in_itself(render(record(2, 1, scores={}, details={}, curves={}, settings={}, problem="x")))
    assert "This run did not finish" in page.words
    assert not page.all("svg")


def test_stages_before_training_have_their_tables():
    before = dict.fromkeys(("distance", "distortion", "entropy", "bound", "log_loss", "accuracy", "shift"), 0.25)
    stage = {"before": before | {"shift_bound": 4.92}, "after": before | {"shift_bound": 3.18}}
    slopes = [dict.fromkeys(("accuracy", "slope", "steep"), 0.5) | {"lipschitz": value} for value in (9.842, 3.523)]
    entry = {**stage, "lipschitz": 3.523, "recalibration": dict(zip(("before", "after"), slopes, strict=True))}
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", render(record(2, 1, "x", "set", alignment=entry))))
    assert "its bound, L W1 4.920 3.180" in text
    assert "Lipschitz constant L 9.842 3.523" in text
    assert "Stage 0" not in render(record(2, 1, "x", "set", alignment={**stage, "lipschitz": 1.0}))
    assert "Alignment" not in render(record(2, 1, "x", "set"))


def test_statistics_have_their_panels():
    names = ("student/true_pair", "teacher/true_pair", "teacher/kl_reverse", "teacher/agreement", "teacher/new")
    curves = {name: Curve([1, 2], [0.5, 0.25]) for name in (*names, "student/distance_to_start")}
    page = assert_complete_in_itself(render(record(2, 1, curves=curves)))
    titles = ("KL(student ‖ teacher)", "agreement on the most probable", "probability of the true pair", "new")
    places = [page.words.index(title) for title in (*titles, "Distance of the trained weights (L2)", "from the start")]
    assert places == sorted(places)


def test_many_values_are_thinned():
    curve = Curve(list(range(30_000)), [float(step % 7) for step in range(30_000)])
    html = render(record(2, 1, curves={"teacher/kl": curve}))
    assert len(html) < 60_000
    assert 'class="band"' in html


def test_changes_are_good_or_bad():
    assert change(0.5, 0.62) == ("+12.0", "good", 100)
    assert change(0.5, 0.45) == ("−5.0", "bad", 50)
    assert change(0.5, 0.45, lower_is_better=True) == ("−5.0", "good", 50)
    assert change(0.5, 0.50004) == ("±0.0", "same", 0)
    assert change(float("nan"), 0.5) is None


def test_ticks_are_round():
    assert ticks(0, 48) == [0, 10, 20, 30, 40]
    assert [format_number(tick, 6) for tick in ticks(14.213, 14.238)] == [
        "14.215",
        "14.22",
        "14.225",
        "14.23",
        "14.235",
    ]
    assert [format_number(tick) for tick in ticks(-1e-5, 1e-5)] == ["-1e-5", "-5e-6", "0", "5e-6", "1e-5"]
