import numpy as np
import torch

from tracer_lightning.evaluation.changes import COUNTS, FORGOTTEN, LEARNED, Changed, Prediction
from tracer_lightning.reporting.changed import (
    GAP,
    KINDS,
    MIN_SIZE,
    ShownSample,
    draw_changes,
    overlay,
    shorten,
    side_by_side,
    to_pixels,
)
from tracer_lightning.types import EvalSet, InputSpec

SPEC = InputSpec(2, (0.5, 0.4, 0.3), (0.5, 0.2, 0.1), lambda texts: torch.zeros(len(texts), 1), False)


def test_pixels_are_those_that_were_normalised():
    plain = torch.tensor([[[0, 255], [17, 100]]] * 3, dtype=torch.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (SPEC.mean, SPEC.std))
    result = to_pixels((plain / 255 - mean) / std, SPEC)
    factor = MIN_SIZE // 2
    assert result.shape == (MIN_SIZE, MIN_SIZE, 3)
    np.testing.assert_array_equal(result[::factor, ::factor, 0], plain[0].numpy())
    np.testing.assert_array_equal(result[factor - 1 :: factor, factor - 1 :: factor, 2], plain[2].numpy())


def test_an_overlay_is_bright_where_the_map_is_and_grey_where_it_is_not():
    image = np.full((40, 40, 3), (90, 120, 150), np.uint8)
    saliency = torch.zeros(2, 2)
    saliency[1, 0] = 7.0
    result = overlay(image, saliency)
    np.testing.assert_array_equal(result[0, -1], [120, 120, 120])
    assert result[-1, 0].sum() > result[-1, -1].sum() > 0
    assert tuple(np.unravel_index(result.sum(axis=2).argmax(), (40, 40))) >= (30, 0)
    np.testing.assert_array_equal(overlay(image, torch.zeros(2, 2)), np.full((40, 40, 3), 120))


def test_panels_stand_side_by_side():
    joined = side_by_side([np.zeros((5, 5, 3), np.uint8), np.full((5, 5, 3), 9, np.uint8)])
    assert joined.shape == (5, 10 + GAP, 3)
    assert (joined[:, 5 : 5 + GAP] == 255).all()
    assert (joined[:, -5:] == 9).all()


def test_long_names_are_cut():
    assert shorten("seven") == "seven"
    assert shorten("x" * 50) == "x" * 21 + "…"


def test_a_figure_shows_all_images_with_their_predictions():
    change = Changed(3, 0, Prediction(0, 0.9, 0.9), Prediction(1, 0.8, 0.1), torch.zeros(3, 2, 2))
    shown = {FORGOTTEN: [ShownSample(change, [np.zeros((9, 9, 3), np.uint8)] * 3)] * 2, LEARNED: []}
    sets = [EvalSet("one", "test", "id"), EvalSet("two", "test", "ood")]
    counts = {eval_set.name: dict.fromkeys(COUNTS, 2) for eval_set in sets}
    for maps, width in ((False, 9), (True, 27 + 2 * GAP)):
        drawn = draw_changes(
            sets,
            counts,
            {eval_set.name: shown for eval_set in sets},
            {eval_set.name: ["cat", "dog"] for eval_set in sets},
            maps,
        )
        assert len(drawn.axes) == 4
        assert {axes.get_title() for axes in drawn.axes} == {"cat 90 %\n$\\to$ dog 80 %"}
        assert {axes.images[0].get_array().shape for axes in drawn.axes} == {(9, width, 3)}
        texts = [text.get_text() for text in drawn.texts]
        assert set(KINDS.values()) <= set(texts)
        assert any(text.startswith("two (OOD)") and text.endswith("of 10") for text in texts)
