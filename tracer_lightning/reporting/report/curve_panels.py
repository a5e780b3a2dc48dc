"""Curves of the values logged during training, sorted into panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from tracer_lightning.reporting.alignment_paths import ALIGNMENT
from tracer_lightning.reporting.report.drawing import CurveDrawing, draw_curves
from tracer_lightning.reporting.report.numbers import format_number
from tracer_lightning.reporting.training_curves import Curve

if TYPE_CHECKING:  # it needs torch, which pages of many runs do without
    from tracer_lightning.reporting.report.record import RunRecord

LOSS = "train/loss/"
NOT_DRAWN = ("train/unreadable",)
TITLES = {
    "train/loss/total": "total loss",
    "train/logit_scale": "logit scale",
    "kl": "KL(teacher ‖ student)",
    "kl_reverse": "KL(student ‖ teacher)",
    "agreement": "agreement on the most probable",
    "top5_overlap": "overlap of the five most probable",
    "true_pair": "probability of the true pair",
    "distance_to_start": "from the start, ‖θ − θ₀‖",
    "distance_to_student": "between teacher and student",
}
UNITS = {"kl": "nats", "kl_reverse": "nats", "entropy": "nats"}
STATISTICS = ("kl", "kl_reverse", "agreement", "top5_overlap", "entropy", "confidence", "true_pair")
"""Statistics of teacher and student in the order of their panels; others follow."""
DISTANCES = ("distance_to_start", "distance_to_student")


class CurvePanel(NamedTuple):
    """One figure with a line for each model."""

    title: str
    unit: str
    ends: list[tuple[str, str, str]]
    """Model, first and last value of each line."""
    drawing: CurveDrawing
    nonfinite: int
    """Number of values that were infinite or NaN."""


class CurveSection(NamedTuple):
    """Panels under a common heading."""

    title: str
    panels: list[CurvePanel]


def _panel(title: str, curves: Mapping[str, Curve], unit: str = "") -> CurvePanel | None:
    """Panel with one line per model; None if no finite value was logged."""
    drawn = {model: curve for model, curve in curves.items() if curve.values}
    if not drawn:
        return None
    ends = [(model, format_number(curve.values[0]), format_number(curve.values[-1])) for model, curve in drawn.items()]
    return CurvePanel(title, unit, ends, draw_curves(drawn), sum(curve.nonfinite for curve in curves.values()))


def _student_panels(curves: Mapping[str, Curve], names: Iterable[str]) -> list[CurvePanel | None]:
    return [
        _panel(TITLES.get(name, name.removeprefix(LOSS)), {"student": curves[name]}, UNITS.get(name, ""))
        for name in names
        if name in curves
    ]


def _losses(record: RunRecord) -> list[CurvePanel | None]:
    """Panels of the total loss, then of every term in the order of the settings."""
    logged = [name for name in record.curves if name.startswith(LOSS)]
    groups = [record.settings.get(group) or {} for group in ("task_loss", "distill_losses", "regularizers")]
    terms = [LOSS + name for group in groups for name in group]
    order = dict.fromkeys([LOSS + "total", *terms, *sorted(logged)])
    return _student_panels(record.curves, order)


def _models(curves: Mapping[str, Curve], statistics: Iterable[str]) -> list[CurvePanel | None]:
    """Panels of the statistics of student and teacher."""
    panels = []
    for statistic in statistics:
        lines = {model: f"{model}/{statistic}" for model in ("student", "teacher")}
        logged = {model: curves[name] for model, name in lines.items() if name in curves}
        panels.append(_panel(TITLES.get(statistic, statistic), logged, UNITS.get(statistic, "")))
    return panels


def _validation(record: RunRecord) -> list[CurvePanel | None]:
    panels = []
    for metric in record.declared:
        for name, curve in record.curves.items():
            if metric.shown and name.startswith("val/") and name.endswith(f"/{metric.name}"):
                data_set, unit = name.split("/")[1], "%" if metric.percent else ""
                values = [100 * value for value in curve.values] if metric.percent else curve.values
                panels.append(_panel(f"{data_set}: {metric.title}", {"student": curve._replace(values=values)}, unit))
    return panels


def _alignment(curves: Mapping[str, Curve]) -> list[CurvePanel | None]:
    """Panels of stage 1."""
    panels = []
    for title, lines, unit in (
        ("distance to the source", {"student": "source_distance"}, ""),
        ("H(Z|Z')", {"student": "distortion"}, "nats"),
        ("H(Z)", {"student": "entropy"}, "nats"),
        ("log-loss of the transported predictor", {"loss": "log_loss", "bound": "bound"}, "nats"),
    ):
        names = {line: ALIGNMENT + column for line, column in lines.items()}
        panels.append(_panel(title, {line: curves[name] for line, name in names.items() if name in curves}, unit))
    return panels


def curve_sections(record: RunRecord) -> list[CurveSection]:
    """All curves by section; empty sections are left out."""
    curves = record.curves
    rates = sorted(name for name in curves if name.startswith("lr-"))
    others = sorted(name for name in curves if name.startswith("train/") and not name.startswith((LOSS, *NOT_DRAWN)))
    logged = sorted(name.split("/", 1)[1] for name in curves if name.startswith(("student/", "teacher/")))
    on_batches = [name for name in dict.fromkeys([*STATISTICS, *logged]) if name not in DISTANCES]
    has_teacher = any(name.startswith("teacher/") for name in curves)
    rate_panels = [_panel(f"learning rate ({name[3:]})", {"student": curves[name]}) for name in rates]
    sections = {
        "Stage 1, on the samples of each step": _alignment(curves),
        "Losses: the weighted total, and each term before its weight": _losses(record),
        "Learning rate and scale": [*rate_panels, *_student_panels(curves, others)],
        f"{'Teacher and student' if has_teacher else 'Student'} on training batches": _models(curves, on_batches),
        "Distance of the trained weights (L2)": _models(curves, DISTANCES),
        "Validation": _validation(record),
    }
    present = {title: [panel for panel in panels if panel is not None] for title, panels in sections.items()}
    return [CurveSection(title, panels) for title, panels in present.items() if panels]
