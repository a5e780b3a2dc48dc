"""Rendering of the report page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tracer_lightning.reporting.alignment_table import alignment_tables
from tracer_lightning.reporting.bins import FEW, binned_ece
from tracer_lightning.reporting.report.classes import class_lists
from tracer_lightning.reporting.report.curve_panels import curve_sections
from tracer_lightning.reporting.report.drawing import ReliabilityDrawing, draw_reliability
from tracer_lightning.reporting.report.images import image_groups
from tracer_lightning.reporting.report.numbers import percent
from tracer_lightning.reporting.report.record import MODELS, UNTRAINED, RunRecord
from tracer_lightning.reporting.report.results import grid_of, headline_tiles, metrics_of, results_of, sets_of
from tracer_lightning.reporting.report.retrieval import retrieval_of
from tracer_lightning.reporting.report.templates import template_environment
from tracer_lightning.reporting.report.trade_off import trade_offs_of
from tracer_lightning.scores import ROLE_TITLES

MAX_SETS = 12
"""Largest number of datasets whose diagrams and classes are shown; of more, those that lost most."""


class Reliability(NamedTuple):
    """Reliability diagrams of one dataset."""

    name: str
    role: str
    panels: list[tuple[str, str, ReliabilityDrawing]]
    """Model, ECE in percent and drawing of each diagram."""


def shown_sets(record: RunRecord) -> list[str]:
    """Scored datasets to show in detail: those in distribution, then those whose headline metric fell most."""
    first = next(iter(record.scores.values()), {})
    roles = {role: [name for name in names if first[name]["n"]] for role, names in sets_of(record).items()}
    not_trained = roles["ood"] + roles["other"]
    if len(roles["id"]) + len(not_trained) <= MAX_SETS:
        return roles["id"] + not_trained
    before, after = (record.scores.get(model, first) for model in (UNTRAINED, "student"))

    def gain(name: str) -> float:
        metric = metrics_of(record, name)[0]
        difference = after[name][metric.name] - before[name][metric.name]
        return float(difference if metric.better == "higher" else -difference)

    return (roles["id"] + sorted(not_trained, key=gain))[:MAX_SETS]


def _roles(record: RunRecord) -> dict[str, str]:
    """Displayed role by dataset."""
    return {name: ROLE_TITLES[role] for role, names in sets_of(record).items() for name in names}


def _reliability(record: RunRecord, names: list[str]) -> list[Reliability]:
    roles, groups = _roles(record), []
    for name in names:
        details = {model: record.details[model][name] for model in MODELS if model in record.details}
        bins = {model: values["bins"] for model, values in details.items() if "bins" in values}
        if not bins:
            continue
        panels = [(model, percent(binned_ece(counts)), draw_reliability(counts)) for model, counts in bins.items()]
        groups.append(Reliability(name, roles[name], panels))
    return groups


def _format(value: Any) -> str:
    """Format a value as on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_format(entry) for entry in value) + "]"
    return "{}" if value == {} else str(value)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _format(value)


def _settings(settings: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Settings by group, those without a group first under ``""``."""
    ungrouped = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    groups = {name: value for name, value in settings.items() if isinstance(value, Mapping) and value}
    rows_by_group = {"": list(_flat(ungrouped)), **{name: list(_flat({name: groups[name]})) for name in sorted(groups)}}
    return {name: rows for name, rows in rows_by_group.items() if rows}


def render(record: RunRecord) -> str:
    """Render the page as self-contained HTML without scripts and external resources."""
    names = shown_sets(record)
    return (
        template_environment()
        .get_template("report.html.j2")
        .render(
            run=record,
            models=MODELS,
            few=FEW,
            tiles=headline_tiles(record),
            results=results_of(record),
            heat_map=grid_of(record),
            trade_offs=trade_offs_of(record),
            unit=" in percent" if all(metric.percent for metric in record.metrics) else "",
            lower=[metric.title for metric in record.metrics if metric.better == "lower"],
            alignment=[] if record.alignment is None else alignment_tables(record.alignment),
            sections=curve_sections(record),
            reliability=_reliability(record, names),
            classes=class_lists(record, names),
            retrieval=retrieval_of(record, names),
            images=image_groups(record, names, _roles(record)),
            left_out=sum(map(len, sets_of(record).values())) - len(names),
            settings=_settings(record.settings),
        )
    )
