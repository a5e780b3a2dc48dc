"""Similarities of blocks as tables, files and figures."""

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
"""Largest number of blocks with which a heat map shows its values as text."""
TICKS = 14
"""Largest number of blocks with which every block has a tick label."""


class ModelPair(NamedTuple):
    """Two models that were compared: paths or names of their runs, and which model of each run."""

    first: str
    model: str
    second: str
    second_model: str
    run: str
    """Name of the first run in tables and figures."""
    name: str
    """Name of the first model: the run's, with the model if several models of the run were compared."""


Similarities = Mapping[ModelPair, Similarity]
"""Similarities by pair of models, on the same inputs."""


def has_same_blocks(similarity: Similarity) -> bool:
    """Whether both models have the same blocks."""
    return similarity.first == similarity.second


def diagonal(similarity: Similarity, measure: str) -> list[float | None]:
    """Similarities between each block and the same block of the other model."""
    values = getattr(similarity, measure)
    return [row[number] for number, row in enumerate(values)]


def similarity_table(title: str, similarities: Similarities) -> Table | None:
    """Table of each block against the same block of the other model; None if no models have the same blocks.

    Args:
        title: title of the table.
        similarities: similarities on the same inputs; models with other blocks than the first such pair are left out.
    """
    selected = with_same_blocks(similarities)
    if not selected:
        return None
    table = Table(title=title, caption=NOTE, **LAYOUT)
    table.add_column("", no_wrap=True)
    for name in next(iter(selected.values())).first:
        table.add_column(name, justify="right", no_wrap=True)
    for measure in MEASURES:
        table.add_section()
        table.add_row(NAMES[measure])
        for pair, similarity in selected.items():
            table.add_row(f"  {pair.name}", *(_format(value) for value in diagonal(similarity, measure)))
    return table


def with_same_blocks(similarities: Similarities) -> dict[ModelPair, Similarity]:
    """Select the pairs of models that have the same blocks as the first such pair."""
    selected = {pair: similarity for pair, similarity in similarities.items() if has_same_blocks(similarity)}
    blocks = next(iter(selected.values())).first if selected else []
    return {pair: similarity for pair, similarity in selected.items() if similarity.first == blocks}


def _format(value: float | None, digits: int = 3) -> str:
    return MISSING if value is None else f"{value:.{digits}f}".replace("-", "−")


def write_similarities(path: Path, similarities: Mapping[str, Similarities]) -> None:
    """Write all values as CSV, with a row for each pair of blocks.

    Args:
        path: path of the file.
        similarities: similarities by inputs.
    """
    rows = (
        [*pair[:4], inputs, *row]
        for inputs, comparisons in similarities.items()
        for pair, similarity in comparisons.items()
        for row in _rows(similarity)
    )
    write_text(path, csv_text([COLUMNS, *rows]))


def _rows(similarity: Similarity) -> Iterator[list[Any]]:
    for i, first in enumerate(similarity.first):
        for j, second in enumerate(similarity.second):
            yield [first, second, *(getattr(similarity, measure)[i][j] for measure in MEASURES)]


def curves(title: str, similarities: Similarities) -> Figure | None:
    """Draw the similarity of each block with the same block of the other model; None if no models have the same blocks.

    Args:
        title: title of the figure.
        similarities: similarities on the same inputs; models with other blocks than the first such pair are left out.
    """
    selected = with_same_blocks(similarities)
    if not selected:
        return None
    runs = list(dict.fromkeys(pair.run for pair in selected))
    with style():
        figure = Figure(figsize=(7.5, 3.4), layout="constrained")
        panels = figure.subplots(1, len(DRAWN), sharey=True)
        for axes, measure in zip(panels, DRAWN, strict=True):
            for pair, similarity in selected.items():
                look: Any = {"color": f"C{runs.index(pair.run)}", "marker": "o", "markersize": 3.5}
                values = [float("nan") if value is None else value for value in diagonal(similarity, measure)]
                linestyle = "--" if pair.model == "teacher" else "-"
                axes.plot(range(len(values)), values, linestyle=linestyle, label=pair.name, **look)
            axes.axhline(1, color=COLOURS["zero_shot"], linewidth=0.9)
            axes.set_title(NAMES[measure])
            _name_blocks(axes, "x", next(iter(selected.values())).first)
            axes.set_xlabel("block")
        panels[0].set_ylabel("similarity (1: equal)")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)))
        figure.suptitle(title, parse_math=False)
    return figure


def heat_maps(title: str, similarities: Similarities) -> Figure:
    """Draw the similarity of every block with every block of the other model, one column per pair of models.

    Args:
        title: title of the figure.
        similarities: similarities on the same inputs.
    """
    with style():
        size = (1.2 + 2.6 * len(similarities), 0.7 + 2.6 * len(DRAWN))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(DRAWN), len(similarities), squeeze=False)
        for row, measure in zip(grid, DRAWN, strict=True):
            for axes, (pair, similarity) in zip(row, similarities.items(), strict=True):
                image = _heat_map(axes, similarity, measure)
                axes.set_title(pair.name, parse_math=False)
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
                    _format(None if value != value else value, 2),
                    ha="center",
                    va="center",
                    fontsize="x-small",
                    color=colour,
                )
    _name_blocks(axes, "x", similarity.second)
    _name_blocks(axes, "y", similarity.first)
    return image


def _name_blocks(axes: Axes, axis: str, names: Sequence[str]) -> None:
    """Label the ticks of an axis with names of blocks, always including the features."""
    interval = -(-len(names) // TICKS)
    ticks = sorted({*range(0, len(names) - interval, interval), len(names) - 1})
    labels = ["feat." if tick == len(names) - 1 else names[tick] for tick in ticks]
    (axes.set_xticks if axis == "x" else axes.set_yticks)(ticks, labels)
