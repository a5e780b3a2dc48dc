"""Similarities of blocks as tables, files and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from tracer_lightning.evaluation.similarity import MEASURES, Similarity
from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.reporting.style import COLOURS, style
from tracer_lightning.reporting.tables import MISSING
from tracer_lightning.storage import write_text

NAMES = {"cka": "linear CKA", "cka_minibatch": "linear CKA, minibatch", "svcca": "SVCCA (99 % of variance)"}
DRAWN = ("cka", "svcca")
NOTE = (
    "A row for each comparison, a column for each block and the features. CKA is the unbiased estimate on all inputs, "
    "CKA minibatch the mean over minibatches as published; both may leave [0, 1] a little. SVCCA is in [0, 1], and too "
    "high where there are few inputs for the directions that it keeps."
)
LAYOUT: Any = {"box": box.SIMPLE, "collapse_padding": True, "pad_edge": False, "caption_justify": "left"}
COLUMNS = ("first", "model", "second", "second_model", "inputs", "first_block", "second_block", *MEASURES)
ANNOTATED = 9
"""Blocks up to which a heat map has its values written in."""
TICKS = 14
"""Blocks up to which each is named."""


class Compared(NamedTuple):
    """Which two models were compared; paths or names, and which model of a run."""

    first: str
    model: str
    second: str
    second_model: str
    run: str
    """What tables and pictures call the first."""
    name: str
    """The same, with the model where others of the run were compared, too."""


Found = Mapping[Compared, Similarity]
"""Of the same inputs."""


def correspond(similarity: Similarity) -> bool:
    """Whether both models have the same blocks."""
    return similarity.first == similarity.second


def along(similarity: Similarity, measure: str) -> list[float | None]:
    """The measure between each block and the same one of the other model."""
    values = getattr(similarity, measure)
    return [row[number] for number, row in enumerate(values)]


def similarity_table(title: str, found: Found) -> Table | None:
    """Each block compared with the same one of the other model; None where no models have the same blocks.

    Args:
        title: above the table.
        found: of the same inputs; those of models with other blocks than the first such pair are left out.
    """
    kept = alike(found)
    if not kept:
        return None
    table = Table(title=title, caption=NOTE, **LAYOUT)
    table.add_column("", no_wrap=True)
    for name in next(iter(kept.values())).first:
        table.add_column(name, justify="right", no_wrap=True)
    for measure in MEASURES:
        table.add_section()
        table.add_row(NAMES[measure])
        for compared, similarity in kept.items():
            table.add_row(f"  {compared.name}", *(_shown(value) for value in along(similarity, measure)))
    return table


def alike(found: Found) -> dict[Compared, Similarity]:
    """Those of models with the same blocks, the same in all of them."""
    kept = {compared: similarity for compared, similarity in found.items() if correspond(similarity)}
    blocks = next(iter(kept.values())).first if kept else []
    return {compared: similarity for compared, similarity in kept.items() if similarity.first == blocks}


def _shown(value: float | None, digits: int = 3) -> str:
    return MISSING if value is None else f"{value:.{digits}f}".replace("-", "−")


def write_similarities(path: Path, found: Mapping[str, Found]) -> None:
    """All values as CSV, a row for each pair of blocks.

    Args:
        path: of the file.
        found: by inputs.
    """
    rows = (
        [*compared[:4], inputs, *row]
        for inputs, comparisons in found.items()
        for compared, similarity in comparisons.items()
        for row in _rows(similarity)
    )
    write_text(path, csv_text([COLUMNS, *rows]))


def _rows(similarity: Similarity) -> Iterator[list[Any]]:
    for i, one in enumerate(similarity.first):
        for j, other in enumerate(similarity.second):
            yield [one, other, *(getattr(similarity, measure)[i][j] for measure in MEASURES)]


def curves(title: str, found: Found) -> Figure | None:
    """Similarity of each block with the same one of the other model; None where no models have the same blocks.

    Args:
        title: above the figure.
        found: of the same inputs; those of models with other blocks than the first such pair are left out.
    """
    kept = alike(found)
    if not kept:
        return None
    runs = list(dict.fromkeys(compared.run for compared in kept))
    with style():
        figure = Figure(figsize=(7.5, 3.4), layout="constrained")
        panels = figure.subplots(1, len(DRAWN), sharey=True)
        for axes, measure in zip(panels, DRAWN, strict=True):
            for compared, similarity in kept.items():
                look: Any = {"color": f"C{runs.index(compared.run)}", "marker": "o", "markersize": 3.5}
                values = [float("nan") if value is None else value for value in along(similarity, measure)]
                dashes = "--" if compared.model == "teacher" else "-"
                axes.plot(range(len(values)), values, linestyle=dashes, label=compared.name, **look)
            axes.axhline(1, color=COLOURS["zero_shot"], linewidth=0.9)
            axes.set_title(NAMES[measure])
            _name_blocks(axes, "x", next(iter(kept.values())).first)
            axes.set_xlabel("block")
        panels[0].set_ylabel("similarity (1: equal)")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)))
        figure.suptitle(title, parse_math=False)
    return figure


def heat_maps(title: str, found: Found) -> Figure:
    """Similarity of every block with every one of the other model, a column of maps for each comparison.

    Args:
        title: above the figure.
        found: of the same inputs.
    """
    with style():
        size = (1.2 + 2.6 * len(found), 0.7 + 2.6 * len(DRAWN))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(DRAWN), len(found), squeeze=False)
        for row, measure in zip(grid, DRAWN, strict=True):
            for axes, (compared, similarity) in zip(row, found.items(), strict=True):
                image = _heat_map(axes, similarity, measure)
                axes.set_title(compared.name, parse_math=False)
                axes.set_xlabel("block of the other model")
            row[0].set_ylabel("block")
            figure.colorbar(image, ax=list(row), label=NAMES[measure], fraction=0.05)
        figure.suptitle(title, parse_math=False)
    return figure


def _heat_map(axes: Axes, similarity: Similarity, measure: str) -> Any:
    values = [[float("nan") if value is None else value for value in row] for row in getattr(similarity, measure)]
    image = axes.imshow(values, origin="lower", cmap="viridis", vmin=0, vmax=1)
    axes.grid(visible=False)
    if max(len(similarity.first), len(similarity.second)) <= ANNOTATED:
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                colour = "black" if value > 0.6 else "white"
                axes.text(
                    j,
                    i,
                    _shown(None if value != value else value, 2),
                    ha="center",
                    va="center",
                    fontsize="x-small",
                    color=colour,
                )
    _name_blocks(axes, "x", similarity.second)
    _name_blocks(axes, "y", similarity.first)
    return image


def _name_blocks(axes: Axes, axis: str, names: Sequence[str]) -> None:
    """Put blocks' names to an axis, the features' always among them."""
    every = -(-len(names) // TICKS)
    shown = sorted({*range(0, len(names) - every, every), len(names) - 1})
    labels = ["feat." if place == len(names) - 1 else names[place] for place in shown]
    (axes.set_xticks if axis == "x" else axes.set_yticks)(shown, labels)
