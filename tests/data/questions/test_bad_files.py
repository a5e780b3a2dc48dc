"""Faulty files of questions: one line that names file and row."""

import json
import os
import re

import pytest

from tests.answering import tiny_llava
from tests.data.questions.question_files import QUESTION, rows, vqa, write_images, write_rows
from tests.data.questions.test_layouts import IMAGE, chat, sharegpt

GOOD = {"image": IMAGE, "question": QUESTION, "answer": "red"}
SECOND = "mine.jsonl, line 2: "


@pytest.fixture(scope="module")
def spec():
    return tiny_llava().spec


def without(key):
    return {name: value for name, value in GOOD.items() if name != key}


def conversation(messages, **fields):
    return [{"image": IMAGE, "conversations": messages, **fields}]


TALK = sharegpt(QUESTION, "red")
ALPACA = {"images": [IMAGE], "instruction": f"<image>{QUESTION}", "output": "red"}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([GOOD, without("answer")], f"{SECOND}it has no answer; its keys are image, question; add it"),
        ([GOOD, {**GOOD, "answer": " "}], f"{SECOND}it has no answer"),
        ([GOOD, without("question")], f"{SECOND}it has no question; its keys are image, answer"),
        ([GOOD, without("image")], f"{SECOND}it has no image; its keys are question, answer"),
        ([GOOD, {**GOOD, "image": []}], f"{SECOND}it has no image"),
        ([GOOD, {**GOOD, "image": [IMAGE, IMAGE]}], f"{SECOND}it has 2 images, and a row must have one"),
        ([GOOD, {**GOOD, "image": "https://a.b/c.png"}], f"{SECOND}the image https://a.b/c.png must be the path"),
        ([GOOD, {**GOOD, "image": {"bytes": "x"}}], f"{SECOND}image must be text, got {{'bytes': 'x'}}"),
        ([GOOD, {**GOOD, "answer": 3}], f"{SECOND}answer must be text, got 3; write it in quotes"),
        ([GOOD, {**GOOD, "answer": "\ud800"}], f"{SECOND}answer has the character '\\ud800'"),
        ([GOOD, {**GOOD, "question": "<image> <image> what ?"}], f"{SECOND}the question has 2 <image>"),
        ([GOOD, {**GOOD, "answer": "red <image>"}], f"{SECOND}<image> must be in the question, and nowhere else"),
        ([GOOD, {**GOOD, "question": "<image>"}], f"{SECOND}question is blank"),
        ([{"picture": IMAGE, "q": "a"}], "mine.jsonl, line 1: the keys picture, q are those of no known layout"),
        ([GOOD, {**GOOD, "options": ["blue", "green"]}], f"{SECOND}the answer 'red' is not among the options blue, gr"),
        ([GOOD, {**GOOD, "options": ["red", "blue", "red"]}], f"{SECOND}two options are 'red'"),
        ([GOOD, {**GOOD, "options": ["red"]}], f"{SECOND}there must be 2 to 26 options, got 1"),
        ([GOOD, {**GOOD, "distractor": "red"}], f"{SECOND}the distractor must be a wrong answer, and 'red' is the ans"),
        (["red"], "mine.jsonl, line 1: a row must be an object"),
        (conversation(sharegpt(QUESTION, "red", first="")), "line 1: the conversation has 0 <image>, and it must have"),
        (conversation(sharegpt("<image>" + QUESTION, "red")), "line 1: the conversation has 2 <image>"),
        (
            conversation(sharegpt("a ?", "b", "<image> c ?", "d", first="")),
            "line 1: <image> must be in the first quest",
        ),
        (conversation(TALK[:1]), "line 1: the last question has no answer"),
        (conversation(TALK[1:]), "line 1, message 1: from is 'gpt', and questions and answers must alternate"),
        (conversation([*TALK, {"from": "system", "value": "a"}]), "line 1, message 3: from is 'system'"),
        (conversation([{"from": "system", "value": "a <image>"}, *TALK]), "line 1, message 1: <image> must be in the"),
        (conversation([{"from": "system", "value": "a"}]), "line 1: it has no question"),
        (
            conversation([{"from": "system", "value": "a"}, *TALK], system="b"),
            "line 1: it has two system messages, one of them in conversations; remove one",
        ),
        ([{"conversations": TALK}], "line 1: it has no image; its keys are conversations"),  # but it mentions one
        (
            [{"picture": IMAGE, "messages": chat(QUESTION, "red", parts=False)}],
            "line 1: it has no image, and neither has any other row; add images, or set columns",
        ),
        ([{**ALPACA, "history": ["a", "b"]}], "line 1: history must be a list of [question, answer], got ['a', 'b']"),
        (
            [{**ALPACA, "history": [["a", "b"]]}],
            "line 1: <image> must be in the first question, and nowhere else",
        ),
        (conversation([{"from": "human"}]), "line 1, message 1: it must be an object with from and value"),
        (conversation("hello"), "line 1: conversations must be a list of messages, got 'hello'"),
        (conversation([]), "line 1: it has no conversations"),
        (
            [{"image": IMAGE, "messages": [{"role": "user", "content": [{"type": "video"}]}]}],
            "line 1, message 1: each part of content must be an image or a text, got {'type': 'video'}",
        ),
        ([{"messages": chat(QUESTION, "red")}], "line 1: it has no image; its keys are messages"),
        (
            [{"image": "gone.png", "question": QUESTION, "answer": "red"}],
            "mine.jsonl: no image of its first 1 rows exis",
        ),
        (
            [GOOD, {**GOOD, "answer": "purple cow"}],
            "mine.jsonl: the model's vocabulary lacks 'cow'; use words that it",
        ),
    ],
)
def test_faulty_rows(tmp_path, spec, entries, message):
    write_images(tmp_path, 1)
    write_rows(tmp_path / "mine.jsonl", entries)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        vqa(spec, tmp_path)
    assert "\n" not in str(error.value)


LINE = json.dumps(GOOD)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine.jsonl", f'{LINE}\n{{"image": \n', "mine.jsonl, line 2: invalid JSON at character 10: Expecting value"),
        ("mine.jsonl", f"{LINE}\n{'[' * 100_000}\n", "mine.jsonl, line 2: JSON that can't be read: maximum recursion"),
        ("mine.jsonl", f"{LINE}\n{'9' * 10_000}\n", "mine.jsonl, line 2: JSON that can't be read: Exceeds the limit"),
        ("mine.jsonl", "", "mine.jsonl is empty; it must have at least one row"),
        ("mine.jsonl", "\n \n", "mine.jsonl is empty"),
        ("mine.jsonl", f"{LINE}\n".encode() + b"\xff\n", "mine.jsonl is not UTF-8 text: line 2 has the byte 0xff"),
        ("mine.jsonl", LINE.encode("utf-16"), "mine.jsonl is not UTF-8 text, but UTF-16"),
        ("mine.json", f"[{LINE},\n{LINE}\n{LINE}]", "mine.json, line 3: invalid JSON at character 1: Expecting ','"),
        ("mine.json", f"[{LINE}, 3]", "mine.json, row 2: a row must be an object"),
        ("mine.json", LINE, "mine.json must be a list of objects"),
        ("mine.json", "[]", "mine.json is empty"),
        ("mine.csv", "path,query\na,b\n", "mine.csv, line 2: the keys path, query are those of no known layout"),
        ("mine.csv", "image,question,answer\na,b\n", "mine.csv, line 2: it does not have as many values"),
        ("mine.csv", 'image,question,answer\na,b,c\na,"b\n,c\n', "mine.csv, line 3: a quotation mark at"),
        ("mine.csv", "image,image,answer\n", "mine.csv, line 1: two columns have the same name"),
        ("mine.csv", "image,question,answer\n", "mine.csv is empty"),
        ("mine.csv", "", "mine.csv is empty"),
        ("mine.csv", b"image,question,answer\na,b,\xe9\n", "mine.csv is not UTF-8 text: line 2 has the byte 0xe9"),
        ("mine.txt", LINE, "mine.txt must be a file of one of the kinds .jsonl, .json, .csv, .tsv"),
    ],
)
def test_faulty_files(tmp_path, spec, name, content, message):
    write_images(tmp_path, 1)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        vqa(spec, tmp_path, file=name)
    assert "\n" not in str(error.value)


def test_missing_files_and_pipes(tmp_path, spec):
    with pytest.raises(ValueError, match=r"mine\.jsonl can't be read: No such file"):
        vqa(spec, tmp_path)
    os.mkfifo(tmp_path / "mine.jsonl")
    with pytest.raises(ValueError, match=r"mine\.jsonl is a pipe"):
        vqa(spec, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"image": "a", "quest": "b"}}, "columns must have keys among image, question, .*; got quest"),
        ({"columns": {"question": "a", "answer": "b"}}, "columns must have image and either question and answer"),
        ({"columns": {"image": "a", "answer": "b"}}, "columns must have image and either"),
        ({"columns": {"image": "a", "messages": "b", "options": "c"}}, "columns must have image and either"),
        ({"columns": {"image": "path", "question": "q", "answer": "a"}}, r"line 1: it has no image \(path\); its keys"),
        ({"train": {"file": None, "folder": None}}, "train.file must be the path of a file"),
        ({"train": {"file": "mine.jsonl", "split": "a"}}, "train must have keys among file, folder; got split"),
        (
            {"tests": {"a": {"file": "mine.jsonl", "role": "far"}}},
            "tests.a.role must be one of id, ood, other, got 'far'",
        ),
        ({"tests": {"a": {"file": "mine.jsonl", "text": "x"}}}, "tests.a.text must be one of id, wording, task"),
        ({"held_out": {"fraction": 1.0, "seed": 0}}, "held_out.fraction must be >= 0 and < 1, got 1.0"),
        ({"held_out": {"fraction": 0.0, "seed": 0}}, "tests must name a test set, since val is None"),
    ],
)
def test_wrong_arguments(tmp_path, spec, options, message):
    write_images(tmp_path)
    write_rows(tmp_path / "mine.jsonl", rows())
    with pytest.raises(ValueError, match=message):
        vqa(spec, tmp_path, **options)


def test_letters_need_lists_of_options(tmp_path, spec):
    write_images(tmp_path)
    write_rows(tmp_path / "mine.jsonl", rows(options="red or blue"))
    with pytest.raises(ValueError, match=r"line 1: options must be a list for letters, .* 'red or blue'; write"):
        vqa(spec, tmp_path, letters=True)


def test_one_image_can_not_be_held_out(tmp_path, spec):
    write_images(tmp_path)
    write_rows(tmp_path / "mine.jsonl", rows(image=IMAGE, answer="red"))
    with pytest.raises(
        ValueError, match=r"mine\.jsonl has questions about one image only, so that none can be held out"
    ):
        vqa(spec, tmp_path)


def test_a_row_that_is_longer_than_the_context_is_named(tmp_path):
    spec = tiny_llava(context_length=8).spec
    write_images(tmp_path)
    write_rows(tmp_path / "mine.jsonl", rows(options=None))
    data = vqa(spec, tmp_path)
    with pytest.raises(
        ValueError, match=r"mine\.jsonl, line \d+: a conversation of 13 tokens, and the model's context has 8"
    ):
        data.collate()([data.train_dataset()[0, 0]])
