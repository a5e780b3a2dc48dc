import pytest

from tests.images import grey_pixels, write_image
from tracer_lightning.data.images.unlabelled import FileSource, list_images


@pytest.fixture
def photos(tmp_path):
    for name in ("b/2.png", "a/deep/1.jpg", "0.webp", ".hidden/3.png", "b/.4.png"):
        write_image(tmp_path / name, grey_pixels(100))
    (tmp_path / "b/notes.txt").write_text("none")
    return tmp_path


def test_images_of_a_folder_and_its_subfolders_are_sorted(photos):
    assert list_images(str(photos)) == [photos / "0.webp", photos / "a/deep/1.jpg", photos / "b/2.png"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("b/*", ["b/2.png"]), ("**/*.jpg", ["a/deep/1.jpg"]), ("0.webp", ["0.webp"]), ("b/notes.txt", ["b/notes.txt"])],
)
def test_patterns_match_images_and_a_file_is_taken_as_it_is(photos, pattern, names):
    assert list_images(f"{photos}/{pattern}") == [photos / name for name in names]


@pytest.mark.parametrize("images", ["gone", "gone/*.png", "b/*.txt"])
def test_nothing_to_read_is_an_error(photos, images):
    with pytest.raises(ValueError, match="is no folder of images or shards"):
        list_images(f"{photos}/{images}")


def test_samples_have_no_label_and_name_their_file(photos):
    source = FileSource(list_images(str(photos)))
    sample = source[2]
    assert (sample.data, sample.label, sample.origin) == ((photos / "b/2.png").read_bytes(), -1, f"{photos}/b/2.png")
    assert len(source) == len(source.labels) == 3
    assert source.origin(0) == f"{photos}/0.webp"
