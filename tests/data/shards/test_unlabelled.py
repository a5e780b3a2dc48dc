import io
import tarfile

from tests.commands.helpers import make_shards
from tests.images import grey_pixels, grey_png, write_image
from tracer_lightning.data.images.unlabelled import FileSource
from tracer_lightning.data.shards.unlabelled import open_images


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path):
    for number in range(11):
        write_image(tmp_path / f"pets/{'cat' if number % 2 else 'dog'}/{number}.png", grey_pixels(number))
    out = str(tmp_path / "shards")
    assert make_shards(["folder", str(tmp_path / "pets"), "--out", out, "--max-samples", "1"]) == 0
    source = open_images(f"{out}/train", tmp_path / "cache")
    assert len(source) == 11
    assert [source.origin(index).split("/")[-1].split(".")[0] for index in range(11)] == [str(n) for n in range(11)]
    assert source[10].origin == source.origin(10)


def test_labels_need_not_be_known(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name, data in (("s0.png", grey_png(7)), ("s0.cls", b"dragon")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert open_images(str(tmp_path), tmp_path / "cache")[0].data == grey_png(7)


def test_other_folders_hold_images(tmp_path):
    write_image(tmp_path / "pets/1.png", grey_pixels(1))
    assert isinstance(open_images(str(tmp_path / "pets"), tmp_path / "cache"), FileSource)
