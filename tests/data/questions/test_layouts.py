"""Layouts of files of questions."""

import json

import pytest

from tests.data.questions.question_files import write_images, write_rows
from tracer_lightning.data.questions.rows import read_rows

IMAGE = "images/0.png"
ONE = (("which ?", "cat"),)
TWO = (("which ?", "cat"), ("why ?", "it purrs"))


def sharegpt(*texts, first="<image>\n"):
    return [
        {"from": "gpt" if number % 2 else "human", "value": text if number else first + text}
        for number, text in enumerate(texts)
    ]


def chat(*texts, parts=True):
    return [
        {
            "role": "assistant" if number % 2 else "user",
            "content": [*([] if number else [{"type": "image"}]), {"type": "text", "text": text}] if parts else text,
        }
        for number, text in enumerate(texts)
    ]


def read(folder, row, suffix=".jsonl", columns=None):
    write_images(folder, 1)
    (parsed,) = read_rows(write_rows(folder / f"mine{suffix}", [row]), folder, columns)
    return parsed


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"image": IMAGE, "question": "which ?", "answer": "cat"}, ONE),
        ({"image": IMAGE, "prompt": "<image>which ?", "response": "cat"}, ONE),
        ({"images": [IMAGE], "prompt": "which ?", "response": "cat"}, ONE),
        ({"image": IMAGE, "text": "which ?", "label": "cat"}, ONE),
        ({"image": IMAGE, "id": "7", "conversations": sharegpt("which ?", "cat", "why ?", "it purrs")}, TWO),
        ({"images": [IMAGE], "conversations": sharegpt("which ?\n<image>", "cat", first="")}, ONE),
        ({"image": IMAGE, "messages": chat("which ?", "cat", "why ?", "it purrs")}, TWO),
        ({"images": [IMAGE], "messages": chat("<image>which ?", "cat", parts=False)}, ONE),
        ({"images": IMAGE, "messages": chat("which ?", "cat", parts=False)}, ONE),
        ({"image": None, "images": [IMAGE], "messages": chat("which ?", "cat", parts=False)}, ONE),
        ({"images": [IMAGE], "instruction": "<image>which ?", "output": "cat"}, ONE),
        ({"images": [IMAGE], "instruction": "", "input": "which ?", "output": "cat", "history": [], "system": ""}, ONE),
        ({"images": [IMAGE], "instruction": "why ?", "output": "it purrs", "history": [["which ?", "cat"]]}, TWO),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_known_layouts(tmp_path, row, turns, suffix):
    parsed = read(tmp_path, row, suffix)
    assert parsed.image == IMAGE
    assert parsed.turns == turns
    assert parsed.options == ()
    assert parsed.distractor is None
    assert parsed.origin == f"{tmp_path / f'mine{suffix}'}, {'row' if suffix == '.json' else 'line'} 1"


def test_options_as_a_list_and_as_text(tmp_path):
    row = {"image": IMAGE, "question": "which ?", "answer": "cat", "distractor": "fur"}
    assert read(tmp_path, {**row, "options": ["cat", "dog"]})[1:4] == (ONE, ("cat", "dog"), "fur")
    assert read(tmp_path, {**row, "options": "A. cat\nB. dog"}).turns == (("which ?\nA. cat\nB. dog", "cat"),)


def test_an_instruction_has_its_input_below_it(tmp_path):
    row = {"images": [IMAGE], "instruction": "which ?", "input": "<image>cat or dog", "output": "cat"}
    assert read(tmp_path, row).turns == (("which ?\ncat or dog", "cat"),)


SYSTEM_PROMPT = "You see animals."


@pytest.mark.parametrize(
    "row",
    [
        {"image": IMAGE, "conversations": [{"from": "system", "value": SYSTEM_PROMPT}, *sharegpt("which ?", "cat")]},
        {"image": IMAGE, "system": SYSTEM_PROMPT, "conversations": sharegpt("which ?", "cat")},
        {"image": IMAGE, "messages": [{"role": "system", "content": SYSTEM_PROMPT}, *chat("which ?", "cat")]},
        {
            "image": IMAGE,
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
                *chat("which ?", "cat"),
            ],
        },
        {"image": IMAGE, "instruction": "which ?", "output": "cat", "system": SYSTEM_PROMPT},
    ],
)
def test_system_messages(tmp_path, row):
    parsed = read(tmp_path, row)
    assert (parsed.turns, parsed.system) == (ONE, SYSTEM_PROMPT)


def test_an_empty_system_message_is_none(tmp_path):
    messages = [{"from": "system", "value": ""}, *sharegpt("which ?", "cat")]
    assert read(tmp_path, {"image": IMAGE, "system": "", "conversations": messages}).system is None
    plain = {"image": IMAGE, "question": "which ?", "answer": "cat", "system": "heart"}  # not a column of this layout
    assert read(tmp_path, plain).system is None


@pytest.mark.parametrize("blank", [None, "", " \n", []])
def test_what_is_blank_is_left_out(tmp_path, blank):
    further = dict.fromkeys(("input", "history", "system", "options", "distractor"), blank)
    parsed = read(tmp_path, {"image": IMAGE, "instruction": "which ?", "output": "cat", **further})
    assert parsed[:6] == (IMAGE, ONE, (), None, parsed.origin, None)
    asked = read(tmp_path, {"image": IMAGE, "instruction": blank, "input": "which ?", "output": "cat"})
    assert asked.turns == ONE


def text_alone(key):
    """Rows as of LLaVA's mixture of 665,000, of which the first has no image."""
    talk = sharegpt("which ?", "cat")
    alone = sharegpt("hello", "how are you ?", first="")
    unfinished = [{"from": "gpt", "value": "hello"}]  # of a row that is left out, nothing else is wrong
    return [{"id": "1", key: alone}, {"id": "2", "image": IMAGE, key: talk}, {"id": "3", key: unfinished}]


def test_rows_of_text_alone_are_left_out_and_counted(tmp_path):
    write_images(tmp_path, 1)
    file = write_rows(tmp_path / "llava.json", text_alone("conversations"))
    expected = r"llava\.json: 2 of 3 rows are left out, because they have no image, the first of them row 1$"
    with pytest.warns(UserWarning, match=expected):
        (row,) = read_rows(file, tmp_path)
    assert (row.turns, row.origin) == (ONE, f"{file}, row 2")


def test_chats_and_instructions_of_text_alone_are_left_out(tmp_path):
    write_images(tmp_path, 1)
    chats = [
        {"images": [IMAGE], "messages": chat("which ?", "cat")},
        {"images": [], "messages": chat("hello", "you", parts=False)},
    ]
    instructions = [
        {"images": [IMAGE], "instruction": "which ?", "output": "cat"},
        {"instruction": "say hello", "output": "hello"},
    ]
    for number, rows in enumerate((chats, instructions)):
        with pytest.warns(UserWarning, match="1 of 2 rows is left out, .* line 2$"):
            (row,) = read_rows(write_rows(tmp_path / f"{number}.jsonl", rows), tmp_path)
        assert row.turns == ONE


def test_a_chat_with_the_address_of_an_image_is_no_text_alone(tmp_path):
    write_images(tmp_path, 1)
    address = {"type": "image_url", "image_url": {"url": IMAGE}}
    question = {"role": "user", "content": [address, {"type": "text", "text": "which ?"}]}
    rows = [
        {"images": [IMAGE], "messages": chat("which ?", "cat")},
        {"messages": [question, {"role": "assistant", "content": "cat"}]},
    ]
    with pytest.raises(ValueError, match="line 2: it has no image; its keys are messages; add it"):
        read_rows(write_rows(tmp_path / "mine.jsonl", rows), tmp_path)


LISTS = ['["cat", "dog"]', "['cat', 'dog']"]
"""As JSON, and as Python prints it."""


@pytest.mark.parametrize("text", LISTS)
def test_lists_in_a_table(tmp_path, text):
    row = {"image": f'["{IMAGE}"]', "question": "which ?", "answer": "cat", "options": text}
    parsed = read(tmp_path, row, ".csv")
    assert (parsed.image, parsed.turns, parsed.options) == (IMAGE, ONE, ("cat", "dog"))


def test_conversations_in_a_table(tmp_path):
    row = {"image": IMAGE, "conversations": json.dumps(sharegpt("which ?", "cat"))}
    assert read(tmp_path, row, ".csv").turns == ONE
    row = {"image": IMAGE, "instruction": "why ?", "output": "it purrs", "history": str([["which ?", "cat"]])}
    assert read(tmp_path, row, ".csv").turns == TWO


def test_text_in_brackets_is_no_list(tmp_path):
    for text in ("[a] cat or [b]", "[" * 100_000 + "]"):
        row = {"image": IMAGE, "question": "which ?", "answer": "cat", "options": text}
        assert read(tmp_path, row, ".csv").turns == ((f"which ?\n{text}", "cat"),)


def test_csv(tmp_path):
    row = {
        "image": IMAGE,
        "question": "which,\nof these ?",
        "answer": " cat ",
        "options": "cat or dog",
        "distractor": "",
    }
    parsed = read(tmp_path, row, ".csv")
    assert parsed.turns == (("which,\nof these ?\ncat or dog", "cat"),)
    assert (parsed.distractor, parsed.origin) == (None, f"{tmp_path / 'mine.csv'}, line 2")


def test_the_class_name_of_imagewikiqa_is_a_distractor(tmp_path):
    text = "what moves this object ?\nA. wind\nB. people\nChoose A or B."
    row = {"image": IMAGE, "text": text, "label": "B", "wiki": "...", "classname": "stretcher"}
    parsed = read(tmp_path, row)
    assert (parsed.turns, parsed.distractor) == (((text, "B"),), "stretcher")


def test_named_columns(tmp_path):
    columns = {"image": "path", "question": "q", "answer": "a", "distractor": "wrong"}
    parsed = read(tmp_path, {"path": IMAGE, "q": "which ?", "a": "cat", "wrong": "dog", "answer": "x"}, columns=columns)
    assert (parsed.turns, parsed.distractor) == (ONE, "dog")
    parsed = read(
        tmp_path, {"path": IMAGE, "chat": chat("which ?", "cat")}, columns={"image": "path", "messages": "chat"}
    )
    assert parsed.turns == ONE


def test_a_column_without_a_name_is_ignored(tmp_path):
    row = {"": "7", "image": IMAGE, "question": "which ?", "answer": "cat"}
    assert read(tmp_path, row, ".csv")[1:4] == (ONE, (), None)
    columns = {name: name for name in ("image", "question", "answer")}
    assert read(tmp_path, row, ".csv", columns)[1:4] == (ONE, (), None)


def test_lines_are_counted_with_blank_ones_and_a_mark_at_the_beginning(tmp_path):
    write_images(tmp_path, 1)
    row = '{"image": "images/0.png", "question": "which ?", "answer": "caf\\u00e9"}'
    (tmp_path / "mine.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{row}\n\n{row}\r\n".encode())
    first, second = read_rows(tmp_path / "mine.jsonl", tmp_path)
    assert (first.origin[-6:], second.origin[-6:]) == ("line 1", "line 3")
    assert first.turns == second.turns == (("which ?", "café"),)
