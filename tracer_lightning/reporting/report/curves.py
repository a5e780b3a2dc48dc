"""What was logged during training, sorted into panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tracer_lightning.reporting.report.drawing import CurveDrawing, draw_curves
from tracer_lightning.reporting.report.numbers import short
from tracer_lightning.reporting.report.record import METRICS, RunRecord
from tracer_lightning.reporting.training_curves import Curve

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
"""Statistics of teacher and student, in their order; others follow."""
DISTANCES = ("distance_to_start", "distance_to_student")


class Panel(NamedTuple):
    """One figure."""

    title: str
    unit: str
    ends: list[tuple[str, str, str]]
    """Model, first and last value of each line."""
    drawing: CurveDrawing
    lost: int
    """Values that were no finite numbers."""


class Section(NamedTuple):
    """Panels that belong together."""

    title: str
    panels: list[Panel]


def _panel(title: str, curves: Mapping[str, Curve], unit: str = "") -> Panel | None:
    """One line per model; None where nothing finite was logged."""
    drawn = {model: curve for model, curve in curves.items() if curve.values}
    if not drawn:
        return None
    ends = [(model, short(curve.values[0]), short(curve.values[-1])) for model, curve in drawn.items()]
    return Panel(title, unit, ends, draw_curves(drawn), sum(curve.lost for curve in curves.values()))


def _plain(curves: Mapping[str, Curve], names: Iterable[str]) -> list[Panel | None]:
    return [
        _panel(TITLES.get(name, name.removeprefix(LOSS)), {"student": curves[name]}, UNITS.get(name, ""))
        for name in names
        if name in curves
    ]


def _losses(record: RunRecord) -> list[Panel | None]:
    """The total, then every term in the order of the settings."""
    logged = [name for name in record.curves if name.startswith(LOSS)]
    groups = [record.settings.get(group) or {} for group in ("task_loss", "distill_losses", "regularizers")]
    chosen = [LOSS + name for group in groups for name in group]
    order = dict.fromkeys([LOSS + "total", *chosen, *sorted(logged)])
    return _plain(record.curves, order)


def _models(curves: Mapping[str, Curve], statistics: Iterable[str]) -> list[Panel | None]:
    """What was logged of student and teacher, each statistic in one panel."""
    panels = []
    for statistic in statistics:
        lines = {model: f"{model}/{statistic}" for model in ("student", "teacher")}
        found = {model: curves[name] for model, name in lines.items() if name in curves}
        panels.append(_panel(TITLES.get(statistic, statistic), found, UNITS.get(statistic, "")))
    return panels


def _validation(curves: Mapping[str, Curve]) -> list[Panel | None]:
    panels = []
    for metric, title in METRICS.items():
        for name in curves:
            if name.startswith("val/") and name.endswith(f"/{metric}"):
                data_set, curve = name.split("/")[1], curves[name]
                in_percent = curve._replace(values=[100 * value for value in curve.values])
                panels.append(_panel(f"{data_set}: {title}", {"student": in_percent}, "%"))
    return panels


def curve_sections(record: RunRecord) -> list[Section]:
    """All curves; sections without any are left out."""
    curves = record.curves
    rates = sorted(name for name in curves if name.startswith("lr-"))
    others = sorted(name for name in curves if name.startswith("train/") and not name.startswith((LOSS, *NOT_DRAWN)))
    logged = sorted(name.split("/", 1)[1] for name in curves if name.startswith(("student/", "teacher/")))
    on_batches = [name for name in dict.fromkeys([*STATISTICS, *logged]) if name not in DISTANCES]
    has_teacher = any(name.startswith("teacher/") for name in curves)
    rate_panels = [_panel(f"learning rate ({name[3:]})", {"student": curves[name]}) for name in rates]
    sections = {
        "Losses: the weighted total, and each term before its weight": _losses(record),
        "Learning rate and scale": [*rate_panels, *_plain(curves, others)],
        f"{'Teacher and student' if has_teacher else 'Student'} on training batches": _models(curves, on_batches),
        "Distance of the trained weights (L2)": _models(curves, DISTANCES),
        "Validation": _validation(curves),
    }
    kept = {title: [panel for panel in panels if panel is not None] for title, panels in sections.items()}
    return [Section(title, panels) for title, panels in kept.items() if panels]
