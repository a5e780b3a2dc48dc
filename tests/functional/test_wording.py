import pytest

from tracer_lightning.functional.wording import counted


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, "image"), "1 image"),
        ((0, "image"), "0 images"),
        ((1200, "image"), "1,200 images"),
        ((1, "row is", "rows are"), "1 row is"),
        ((2, "row is", "rows are"), "2 rows are"),
    ],
)
def test_numbers_agree_with_their_nouns(arguments, text):
    assert counted(*arguments) == text
