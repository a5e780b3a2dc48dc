"""Every format of pairs gives the same images and captions, and faults are named."""

import io
import json
import re
import shutil
import tarfile

import pytest

from tests.data.pairs.pair_files import rows, write_images, write_rows
from tracer_lightning.data.images.decoding import UnreadableImageError, decode
from tracer_lightning.data.pairs.columns import Columns, parse_columns
from tracer_lightning.data.pairs.files import PairFiles, PairLocation, parse_location

COUNT = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    write_images(folder, COUNT)
    return folder


def opened(folder, name, images=None, columns=None, bad=0.0):
    return PairFiles(str(folder), columns or Columns(), folder / "cache", bad).open(PairLocation(name, images))


def content(source):
    return sorted((source[index].data, source.captions(index)) for index in range(len(source)))


def expected(folder, captions=2):
    return sorted(
        (
            (folder / f"images/{number}.png").read_bytes(),
            tuple(f"picture {number} text {text}" for text in range(captions)),
        )
        for number in range(COUNT)
    )


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    ("name", "separator", "keys", "columns"),
    [
        ("comma.csv", ",", ("filepath", "title"), Columns()),
        ("tabs.csv", "\t", ("filepath", "title"), Columns()),
        ("mixed.csv", ",", ("image", "title"), Columns()),
        ("tabs.tsv", "\t", ("image", "caption"), Columns()),
        ("semicolons.csv", ";", ("path", "text"), Columns("path", "text")),
        ("named.csv", ":", ("path", "text"), Columns("path", "text", ":")),
        ("lines.jsonl", "", ("image", "caption"), Columns()),
    ],
)
def test_tables(folder, name, separator, keys, columns):
    write_rows(folder / name, rows(COUNT, 2, *keys), separator)
    assert content(opened(folder, name, columns=columns)) == expected(folder)


@pytest.mark.parametrize("first", ['"Quoted title" by me', '"never closed', '6" pipe'])
def test_tables_of_tabs_without_quoting(folder, first):
    captions = [first, *('a "small" one' for _ in range(COUNT - 1))]
    lines = [f"images/{number}.png\t{text}" for number, text in enumerate(captions)]
    (folder / "unquoted.tsv").write_text("\n".join(["image\tcaption", *lines]))
    if first.startswith('"'):
        with pytest.warns(UserWarning, match=r"unquoted.tsv: quotation marks are read as parts .* in line 2 is not"):
            source = opened(folder, "unquoted.tsv")
    else:
        source = opened(folder, "unquoted.tsv")
    assert [source.captions(index) for index in range(COUNT)] == [(text,) for text in captions]


def test_a_quotation_mark_joins_no_rows_of_a_table_of_tabs(folder):
    captions = ["a dog", '"Dogs', *("cats" for _ in range(COUNT - 3)), 'cats, he said"']
    lines = [f"images/{number}.png\t{text}" for number, text in enumerate(captions)]
    (folder / "unquoted.tsv").write_text("\n".join(["image\tcaption", *lines]))
    with pytest.warns(UserWarning, match=r"unquoted.tsv: quotation marks are read as parts .* in line 3 is not"):
        source = opened(folder, "unquoted.tsv")
    assert [source.captions(index) for index in range(COUNT)] == [(text,) for text in captions]


def test_quoted_values_in_tables_of_tabs(folder):
    entries = [{**row, "title": f'"{row["title"]}"\tin\ntwo lines'} for row in rows(COUNT)]
    write_rows(folder / "quoted.tsv", entries, "\t")
    source = opened(folder, "quoted.tsv")
    assert [source.captions(index)[0] for index in range(COUNT)] == [entry["title"] for entry in entries]


def test_a_list_of_captions_in_json_lines(folder):
    captions = [[f"picture {number} text {text}" for text in range(2)] for number in range(COUNT)]
    entries = [{"image": f"images/{number}.png", "caption": texts} for number, texts in enumerate(captions)]
    write_rows(folder / "listed.jsonl", entries)
    assert content(opened(folder, "listed.jsonl")) == expected(folder)


def test_captions_of_coco(folder):
    images = [{"id": 7 * number, "file_name": f"{number}.png"} for number in range(COUNT)]
    texts = [
        {"id": number, "image_id": 7 * (number % COUNT), "caption": f"picture {number % COUNT} text {number // COUNT}"}
        for number in range(2 * COUNT)
    ]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": texts}))
    assert content(opened(folder, "captions.json", "images")) == expected(folder)


@pytest.mark.parametrize("kind", ["txt", "json"])
def test_shards(folder, kind):
    """The layout of img2dataset, and captions on several lines as in clip-benchmark's data sets."""
    captions = 2 if kind == "txt" else 1
    for shard in range(2):
        members = []
        for number in range(shard * 3, shard * 3 + 3):
            texts = [f"picture {number} text {text}" for text in range(captions)]
            described = "\n".join(texts) if kind == "txt" else json.dumps({"caption": texts[0]})
            members.append((f"{number:05d}.png", (folder / f"images/{number}.png").read_bytes()))
            members.append((f"{number:05d}.{kind}", described.encode()))
        write_tar(folder / f"{kind}-{shard:02d}.tar", members)
    assert content(opened(folder, f"{kind}-{{00..01}}.tar")) == expected(folder, captions)


def test_saved_data_sets_and_parquet_files(folder):
    datasets = pytest.importorskip("datasets")
    embedded = datasets.Dataset.from_list(
        [
            {"image": {"bytes": (folder / row["image"]).read_bytes(), "path": None}, "caption": row["caption"]}
            for row in rows(COUNT, 2, "image", "caption")
        ]
    ).cast_column("image", datasets.Image())
    embedded.save_to_disk(folder / "saved")
    embedded.to_parquet(folder / "embedded.parquet")
    datasets.Dataset.from_list(rows(COUNT, 2)).to_parquet(folder / "paths.parquet")
    paths = datasets.Dataset.from_dict({"image": [str(folder / f"images/{n}.png") for n in range(COUNT)]})
    captions = [[f"picture {number} text {text}" for text in range(2)] for number in range(COUNT)]
    paths.cast_column("image", datasets.Image()).add_column("caption", captions).save_to_disk(folder / "unread")
    for name in ("saved", "embedded.parquet", "paths.parquet", "unread"):
        assert content(opened(folder, name)) == expected(folder), name
    datasets.DatasetDict({"train": embedded}).save_to_disk(folder / "splits")
    with pytest.raises(ValueError, match=r"splits has several splits; choose one of .*splits/train"):
        opened(folder, "splits")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Pairs in several parquet files, whose paths are relative to them, and which differ in other columns."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("parts")
    write_images(folder / "data", COUNT)
    entries = rows(COUNT, 2, "image", "caption")
    for number, part in enumerate((entries[:5], entries[5:])):
        others = [{**row, f"other {number}": number} for row in part]
        datasets.Dataset.from_list(others).to_parquet(folder / f"data/train-{number:05d}-of-00002.parquet")
    return folder


PARTS = ("data", "data/train-*.parquet", "data/train-{00000..00001}-of-00002.parquet")


@pytest.mark.parametrize("name", PARTS)
def test_several_parquet_files(parts, name):
    assert content(opened(parts, name)) == expected(parts / "data")
    assert PairLocation(name).stem in ("data", "train")


def test_parts_that_are_missing_of_other_columns_or_of_several_splits(parts, tmp_path):
    with pytest.raises(ValueError, match=r"train-00002-of-00002\.parquet does not exist"):
        opened(parts, "data/train-{00000..00002}-of-00002.parquet")
    with pytest.raises(ValueError, match=r"other-\*\.parquet does not exist"):
        opened(parts, "data/other-*.parquet")
    shutil.copytree(parts / "data", tmp_path / "data")
    pytest.importorskip("datasets").Dataset.from_list(rows(1)).to_parquet(tmp_path / "data/train-2.parquet")
    with pytest.raises(ValueError, match=r"train-2\.parquet has the columns .*, and not image with caption; set"):
        opened(tmp_path, "data")
    (tmp_path / "data/train-2.parquet").rename(tmp_path / "data/test.parquet")
    with pytest.raises(
        ValueError, match=r"data has several splits; choose one by a pattern, such as .*/test\*\.parquet"
    ):
        opened(tmp_path, "data")


@pytest.mark.parametrize("kind", ["binary", "large_binary"])
def test_parquet_files_of_plain_bytes(folder, kind):
    pytest.importorskip("datasets")
    import pyarrow
    from pyarrow import parquet

    images = [(folder / row["image"]).read_bytes() for row in rows(COUNT, 2, "image", "caption")]
    captions = [row["caption"] for row in rows(COUNT, 2, "image", "caption")]
    table = {"image": pyarrow.array([*images, None], getattr(pyarrow, kind)()), "caption": [*captions, "no image"]}
    parquet.write_table(pyarrow.table(table), folder / f"{kind}.parquet")
    with pytest.warns(UserWarning, match="1 of 13 rows is left out: 1 without an image"):
        source = opened(folder, f"{kind}.parquet", bad=0.1)
    assert content(source) == expected(folder)
    assert source.sizes.tolist() == [len(source.read(index)) for index in range(COUNT)]


def test_a_few_incomplete_rows_are_left_out_and_named(folder):
    entries = [*rows(COUNT), {"filepath": "", "title": "no image"}, {"filepath": "images/0.png", "title": " "}]
    entries.append({"filepath": "images/gone.png", "title": "lost"})
    write_rows(folder / "incomplete.csv", entries)
    with pytest.warns(UserWarning, match=r"incomplete.csv: 3 of 9 rows are left out: ") as warned:
        source = opened(folder, "incomplete.csv", bad=0.3)
    assert len(source) == COUNT
    (message,) = [str(warning.message) for warning in warned]
    for text in ("1 without an image (", "incomplete.csv, line 8)", "1 without a caption (", "images/gone.png)"):
        assert text in message
    write_rows(folder / "none.csv", entries[-3:-1])
    with pytest.raises(ValueError, match=r"none.csv: 2 of 2 rows can't be used: 1 without an image"):
        opened(folder, "none.csv", bad=0.9)
    with pytest.raises(ValueError, match=r"3 of 9 rows can't be used, more than max_bad_fraction=0.1 allows: "):
        opened(folder, "incomplete.csv", bad=0.1)


@pytest.mark.parametrize("first", [{"filepath": "images/0.png"}, {"filepath": "images/0.png", "caption": "not these"}])
def test_a_first_row_with_other_keys_is_left_out(folder, first):
    write_rows(folder / "first.jsonl", [first, *rows(COUNT)])
    with pytest.warns(UserWarning, match=r"1 of 7 rows is left out: 1 without a caption \(.*first\.jsonl, line 1\)"):
        source = opened(folder, "first.jsonl", bad=0.1)
    assert content(source) == expected(folder, captions=1)


@pytest.mark.parametrize("kind", ["lines", "coco", "shards"])
def test_captions_that_end_within_an_emoji_are_left_out(tmp_path, kind):
    write_images(tmp_path, COUNT)
    captions = ["cut \ud83d", *(f"picture {number} \N{CAT}" for number in range(1, COUNT))]
    name = {"lines": "cut.jsonl", "coco": "cut.json", "shards": "0.tar"}[kind]
    if kind == "lines":
        entries = [{"image": f"images/{number}.png", "caption": text} for number, text in enumerate(captions)]
        write_rows(tmp_path / name, entries)
    elif kind == "coco":
        images = [{"id": number, "file_name": f"images/{number}.png"} for number in range(COUNT)]
        texts = [{"image_id": number, "caption": text} for number, text in enumerate(captions)]
        (tmp_path / name).write_text(json.dumps({"images": images, "annotations": texts}))
    else:
        members = []
        for number, text in enumerate(captions):
            members.append((f"{number}.png", (tmp_path / f"images/{number}.png").read_bytes()))
            members.append((f"{number}.json", json.dumps({"caption": text}).encode()))
        write_tar(tmp_path / name, members)
    with pytest.warns(UserWarning, match=r"1 of 6 rows is left out: 1 without "):
        source = opened(tmp_path, name, bad=0.1)
    assert [source.captions(index) for index in range(len(source))] == [(text,) for text in captions[1:]]


def test_missing_images_are_counted_and_the_first_five_named(folder):
    write_rows(folder / "lost.csv", [{"image": f"lost/{n}.png", "caption": "x"} for n in range(7)])
    with pytest.raises(ValueError, match="7 of 7 rows can't be used") as error:
        opened(folder, "lost.csv")
    assert str(error.value).count("lost/") == 5
    assert "7 whose image is missing (" in str(error.value)
    assert str(error.value).endswith("set folder to the folder that the paths of images are relative to")


def test_addresses_of_images_are_told_from_paths(folder):
    write_rows(folder / "web.csv", [{"image": f"https://x.org//{n}.png", "caption": "x"} for n in range(2)])
    with pytest.raises(ValueError, match=r"2 whose image is an address \(https://x\.org//0\.png; .*download") as error:
        opened(folder, "web.csv")
    assert "set folder" not in str(error.value)


def test_paths_of_one_image_may_be_spelled_differently(folder):
    spellings = ("images/0.png", "./images/0.png", "images//0.png", "images/1.png")
    write_rows(folder / "spelled.csv", [{"image": path, "caption": path} for path in spellings])
    source = opened(folder, "spelled.csv")
    assert [source.captions(index) for index in range(len(source))] == [spellings[:3], spellings[3:]]
    assert source.key(0) == "images/0.png"


def test_an_image_deleted_after_opening_is_unreadable(tmp_path):
    write_images(tmp_path, 2)
    source = opened(tmp_path, write_rows(tmp_path / "mine.csv", rows(2)).name)
    (tmp_path / "images/1.png").unlink()
    assert decode(source[0].data).shape == (3, 6, 8)
    with pytest.raises(UnreadableImageError, match="missing"):
        decode(source[1].data)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "wrong.csv",
            "path,text\n1.png,x\n",
            "wrong.csv has the columns 'path', 'text', and not filepath or image with title or caption; set columns",
        ),
        (
            "blanks.csv",
            "image_name| comment\n1.png|x\n",
            "blanks.csv has the columns 'image_name', ' comment', and not filepath",
        ),
        ("silent.csv", "image,caption\nimages/0.png,\n", "silent.csv: 1 of 1 row can't be used"),
        (
            "quoted.csv",
            'image,caption\n1.png,"Dogs" by me\n',
            "quoted.csv, line 2: a quotation mark at the beginning of a value is not matched at its end; put",
        ),
        ("open.csv", 'image,caption\n1.png,x\n2.png,"Dogs\n3.png,x\n', "open.csv, line 3: a quotation mark at the"),
        ("bytes.csv", "image,caption\n1.png,a\0b\n", "bytes.csv is not UTF-8 text: line 2"),
        (
            "short.csv",
            "image\tcaption\n1.png\n",
            "line 2: it does not have as many values as the first line",
        ),
        ("other.txt", "x", "other.txt has none of the known formats: .jsonl, .json, .csv, .tsv or .parquet files"),
        ("broken.json", "{", "broken.json, line 1: invalid JSON"),
        ("object.json", "{}", "object.json must be a list of objects"),
        ("images.json", '{"info": {}, "images": []}', "images.json has no captions, which COCO has in a list of"),
        ("broken.parquet", "x", "broken.parquet can't be read"),
    ],
)
def test_faulty_files(tmp_path, name, text, message):
    if name.endswith(".parquet"):
        pytest.importorskip("datasets")
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        opened(tmp_path, name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["mine.csv", "data/train-*.parquet"])
def test_tables_at_addresses_are_refused(tmp_path, name):
    files = PairFiles("https://x.org", Columns(), tmp_path, 0.0)
    with pytest.raises(ValueError, match="is at an address, where only shards are read; download it first"):
        files.open(PairLocation(name))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone.csv does not exist"):
        opened(tmp_path, "gone.csv")


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="columns must have keys among image, caption, separator; got title"):
        parse_columns({"title": "x"})
    with pytest.raises(ValueError, match=r"columns\.separator must be one character or None, got '::'"):
        parse_columns({"separator": "::"})
    with pytest.raises(ValueError, match=r"tests\.a must have keys among file, folder, role; got fold"):
        parse_location("tests.a", {"file": "x", "fold": "y"}, ("role",))
    with pytest.raises(ValueError, match="val must name a file of pairs of images and captions, got None"):
        parse_location("val", {"file": None})
