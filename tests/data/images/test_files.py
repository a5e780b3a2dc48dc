"""Selection of image files and warnings of skipped ones."""

import warnings

import pytest

from tests.commands.helpers import make_shards as main
from tests.data.images.test_folder import CLASSES, data
from tests.data.shards.helpers import rewrite, seen, shards
from tests.data.shards.test_make_shards import error, image, samples, table
from tests.images import encode, grey_pixels, grey_png
from tracer_lightning.data.images.decoding import FORMATS, decode
from tracer_lightning.data.images.files import FORMAT_OF, is_hidden
from tracer_lightning.data.images.folder import FolderSource

CLUTTER = (
    ".ipynb_checkpoints/0-checkpoint.png",
    "__MACOSX/._0.png",
    "._0.png",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
)


def clutter(folder):
    """Write the files that operating systems leave in folders."""
    for name in CLUTTER:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"Mac OS X")


@pytest.mark.parametrize("name", [*CLUTTER, "a/.b/c.png", "./._x.png"])
def test_hidden_names(name):
    assert is_hidden(name)


@pytest.mark.parametrize("name", ["a.png", "./a.png", "../a/b.png", "a.b/c", "/data/x.tar"])
def test_other_names(name):
    assert not is_hidden(name)


def test_hidden_files_are_ignored(folder_root):
    plain = data(folder_root)
    expected = [plain.train_source().files, plain.eval_source(plain.eval_sets[1]).files]
    for folder in [folder_root, *folder_root.glob("*"), *folder_root.glob("*/*")]:
        clutter(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = data(folder_root)
        assert [module.train_source().files, module.eval_source(module.eval_sets[1]).files] == expected
    assert module.classnames == ["big dog", "cat", "owl"]


def test_skipped_files_are_counted_by_reason_in_one_warning(folder_root):
    train = folder_root / "train"
    image(train / "cat/kittens/small/0.png")
    image(train / "cat/kittens/1.png")
    image(train / "0.png")
    (train / "owl/4.dcm").touch()
    (train / "owl/notes").touch()
    (train / "owl/5.png").symlink_to(folder_root / "nowhere.png")
    (train / "newt").symlink_to(folder_root / "nowhere")
    with pytest.warns(UserWarning, match="are skipped") as warned:
        assert len(FolderSource(train, CLASSES)) == 12
    (line,) = [str(warning.message) for warning in warned]
    assert line.startswith(f"{train}: 7 files are skipped: ")
    for part in (
        "2 in nested folders (cat/kittens/1.png, cat/kittens/small/0.png)",
        "1 beside the class folders (0.png)",
        "1 .dcm (owl/4.dcm)",
        "1 without a suffix (owl/notes)",
        "2 broken links (newt, owl/5.png)",
    ):
        assert part in line


@pytest.mark.parametrize("suffix", FORMAT_OF)
def test_every_suffix_is_read_from_folders_and_shards(suffix, tmp_path):
    assert FORMAT_OF[suffix] in FORMATS
    content = encode(grey_pixels(200, 8, 8), FORMAT_OF[suffix])
    for name in ("cat", "owl"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / f"0.{suffix.upper()}").write_bytes(content)
    source = FolderSource(tmp_path / "train", ["cat", "owl"])
    assert len(source) == 2
    assert decode(source[0].data).shape == (3, 8, 8)
    for split in ("train", "test"):
        command = ["folder", str(tmp_path / "train"), "--out", str(tmp_path / "out"), "--split", split]
        assert main([*command, "--verify"]) == 0
    suite = {"own": {"folder": "out", "split": "test", "role": "id"}}
    for stream in (False, True):
        options = {"train": {"folder": "out", "split": "train"}, "suite": suite, "batch_size": 2}
        module = shards(tmp_path, stream=stream, **options)
        assert sum(len(batch.labels) for batch in module.train_dataloader()) == 2


def test_a_class_without_training_images_is_an_error(folder_root, tmp_path, capsys):
    for path in (folder_root / "train/owl").iterdir():
        path.rename(path.with_suffix(".dcm"))
    module = data(folder_root)
    with (
        pytest.warns(UserWarning, match=r"4 files are skipped: 4 \.dcm"),
        pytest.raises(ValueError, match=r"train/owl contains no images \(jpg, .*\); add images or remove it"),
    ):
        module.train_dataloader()
    assert "train/owl contains no images" in error(capsys, "folder", folder_root / "train", "--out", tmp_path / "out")
    assert main(["folder", str(folder_root / "train"), "--out", str(tmp_path / "out"), "--split", "test"]) == 0


def test_make_shards_packs_no_hidden_files(tmp_path, capsys):
    for name in ("cat", "owl"):
        image(tmp_path / "pets" / name / "0.png")
        clutter(tmp_path / "pets" / name)
    clutter(tmp_path / "pets")
    assert main(["folder", str(tmp_path / "pets"), "--out", str(tmp_path / "out"), "--verify"]) == 0
    assert len(samples(tmp_path / "out/train")) == 2
    assert (tmp_path / "out/classnames.txt").read_text() == "cat\nowl\n"
    rows = [("path", "label"), ("pets/cat/0.png", "cat"), ("pets/cat/._0.png", "cat"), ("pets/owl/0.png", "owl")]
    command = ["csv", table(tmp_path / "t.csv", *rows), "--out", str(tmp_path / "listed")]
    with pytest.warns(UserWarning, match=r"t\.csv: 1 file is skipped: 1 hidden \(pets/cat/\._0\.png\)"):
        assert main(command) == 0
    assert len(samples(tmp_path / "listed/train")) == 2
    message = error(capsys, "torchvision", "ImageFolder", tmp_path / "pets", "--out", tmp_path / "vision")
    assert "ImageFolder treats the hidden folder .ipynb_checkpoints" in message or "Found no valid file" in message


def test_verification_decodes(tmp_path, capsys):
    (tmp_path / "pets/cat").mkdir(parents=True)
    (tmp_path / "pets/cat/0.png").write_bytes(grey_png(7)[:-30])
    message = error(capsys, "folder", tmp_path / "pets", "--out", tmp_path / "out", "--verify")
    assert "sample s0000000 has an image that can't be read: damaged" in message


@pytest.mark.parametrize("stream", [False, True])
def test_hidden_shards_and_members_are_ignored(shard_root, stream):
    expected = read(shards(shard_root, stream=stream))
    for split in ("photo/train", "photo/test"):
        (shard_root / split / "._0.tar").write_bytes(b"Mac OS X")
    clutter(shard_root)
    first = shard_root / "photo/test/0.tar"
    rewrite(first, lambda name, content: [(f"__MACOSX/._{name}", b"Mac OS X"), (f"./._{name}", b"x"), (name, content)])
    assert read(shards(shard_root, stream=stream)) == expected


def read(module):
    return [seen(module.train_dataloader()), seen(module.val_dataloader())]
