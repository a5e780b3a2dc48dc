import os

import pytest

from tests.conftest import tiny_backbone
from tests.images import grey_pixels, write_image
from tracer_lightning.data.images.decoding import UnreadableImageError, decode
from tracer_lightning.data.images.unlabelled import FileSource, UnlabelledDataModule, list_images


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


def test_what_is_no_readable_file_is_listed_and_unreadable_but_for_folders(photos):
    (photos / "b/link.png").symlink_to("gone.png")
    os.mkfifo(photos / "b/pipe.png")
    (photos / "b/folder.png").mkdir()
    names = ["2.png", "link.png", "pipe.png"]
    assert list_images(str(photos / "b")) == list_images(f"{photos}/b/*") == [photos / "b" / name for name in names]
    source = FileSource([photos / "b" / name for name in (*names, "folder.png")])
    for index, reason in enumerate(["missing", "is a pipe", "is a folder"], 1):
        with pytest.raises(UnreadableImageError, match=reason):
            decode(source[index].data)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_vanish_do_not_end_a_run(photos, workers):
    source = FileSource(list_images(str(photos)))
    (photos / "b/2.png").unlink()
    spec = tiny_backbone().spec
    data = UnlabelledDataModule(spec, source, None, "pil", batch_size=2, num_workers=workers, seed=0)
    batches = [batch for loader in data.test_dataloader() for batch in loader]
    assert [location for batch in batches for location in batch.unreadable] == [f"{photos}/b/2.png: missing"]
    assert sum((batch.indices >= 0).sum().item() for batch in batches) == 2
