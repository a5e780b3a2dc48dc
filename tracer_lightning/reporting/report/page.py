"""The page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tracer_lightning.reporting.bins import FEW, ece_of
from tracer_lightning.reporting.report.classes import class_lists
from tracer_lightning.reporting.report.curves import curve_sections
from tracer_lightning.reporting.report.drawing import ReliabilityDrawing, draw_reliability
from tracer_lightning.reporting.report.numbers import percent
from tracer_lightning.reporting.report.pictures import picture_groups
from tracer_lightning.reporting.report.record import MODELS, RunRecord
from tracer_lightning.reporting.report.results import results_of, sets_of, tiles

SETS = 12
"""Data sets whose diagrams and classes are shown; of more, those that lost most."""


class Reliability(NamedTuple):
    """One data set's diagrams."""

    name: str
    role: str
    panels: list[tuple[str, str, ReliabilityDrawing]]
    """Model, ECE in percent, drawing."""


def shown_sets(record: RunRecord) -> list[str]:
    """Scored data sets to show in detail: those in distribution, then those whose headline metric fell most."""
    first = next(iter(record.scores.values()), {})
    roles = {role: [name for name in names if first[name]["n"]] for role, names in sets_of(record).items()}
    if len(roles["id"]) + len(roles["ood"]) <= SETS:
        return roles["id"] + roles["ood"]
    known = next(iter(record.scores.values()))
    before, after = (record.scores.get(model, known) for model in ("zero_shot", "student"))
    change = {name: after[name][record.headline] - before[name][record.headline] for name in roles["ood"]}
    return (roles["id"] + sorted(change, key=lambda name: change[name]))[:SETS]


def _roles(record: RunRecord) -> dict[str, str]:
    """Data set to its role, as it is shown."""
    return {name: role.upper() for role, names in sets_of(record).items() for name in names}


def _reliability(record: RunRecord, names: list[str]) -> list[Reliability]:
    roles, found = _roles(record), []
    for name in names:
        bins = {model: record.details[model][name]["bins"] for model in MODELS if model in record.details}
        panels = [(model, percent(ece_of(part)), draw_reliability(part)) for model, part in bins.items()]
        found.append(Reliability(name, roles[name], panels))
    return found


def _written(value: Any) -> str:
    """A value as it would be given on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_written(entry) for entry in value) + "]"
    return "{}" if value == {} else str(value)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _written(value)


def _settings(settings: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Groups of settings, those of no group first under ``""``."""
    alone = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    groups = {name: value for name, value in settings.items() if isinstance(value, Mapping) and value}
    found = {"": list(_flat(alone)), **{name: list(_flat({name: groups[name]})) for name in sorted(groups)}}
    return {name: rows for name, rows in found.items() if rows}


def render(record: RunRecord) -> str:
    """The page as HTML, complete in itself: no script, and nothing that is loaded from elsewhere."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = shown_sets(record)
    return environment.get_template("report.html.j2").render(
        run=record,
        models=MODELS,
        few=FEW,
        tiles=tiles(record),
        results=results_of(record),
        sections=curve_sections(record),
        reliability=_reliability(record, names),
        classes=class_lists(record, names),
        pictures=picture_groups(record, names, _roles(record)),
        left_out=sum(map(len, sets_of(record).values())) - len(names),
        settings=_settings(record.settings),
    )
