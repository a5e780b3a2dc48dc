"""Questions about images of the user's own."""

import shutil

import pytest
import torch

from tests.answering import tiny_llava
from tests.data.questions.question_files import COLOURS, QUESTION, rows, vqa, write_images, write_rows
from tests.data.questions.test_layouts import sharegpt
from tracer_lightning.models import build_llava

LETTERS = ["A.", "B.", "C.", "D.", "Choose", "A,", "B,", "C,", "or", "A", "B", "C", "D"]


@pytest.fixture(scope="module")
def spec():
    return tiny_llava().spec


@pytest.fixture(scope="module")
def lettered_spec():
    sizes = {"width": 16, "layers": 1, "heads": 2}
    tower = {"image_size": 16, "patch_size": 8, **sizes}
    return build_llava(tower, {"context_length": 64, **sizes}, [*QUESTION.split(), *COLOURS, *LETTERS]).spec


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path)
    write_rows(tmp_path / "mine.jsonl", rows())
    return tmp_path


def test_a_file_is_enough(spec, root):
    data = vqa(spec, root)
    assert len(data.train_dataset()) == 18
    assert data.val_set == ("mine", "val", "id", "id", "id", len(data.label_names(data.val_set)), 2)
    assert data.eval_sets == (data.val_set,)
    assert "2 of 20 rows" in data.about_validation()
    batch = next(iter(data.train_dataloader()))
    assert batch.inputs["pixel_values"].shape == (4, 3, 16, 16)
    assert batch.targets.shape[0] == 4
    sample = data.train_dataset()[0, 0]
    question, *options = sample.turns[0].question.split("\n")
    assert (question, sorted(options)) == (QUESTION, sorted(COLOURS))
    assert sample.image.shape == (3, 20, 24)


def test_held_out_images_are_not_trained_on_with_any_question(spec, root):
    write_rows(root / "mine.jsonl", [*rows(), *rows(options=None)])
    data, again = vqa(spec, root), vqa(spec, root, seed=1)
    trained, held_out = ({row.image for row in dataset.rows} for dataset in datasets(data))
    assert not trained & held_out
    assert (len(trained), len(held_out)) == (18, 2)
    assert len(data.train_dataset()) == 36
    assert datasets(again)[1].rows[0] == datasets(data)[1].rows[0]
    assert {row.image for row in datasets(vqa(spec, root, held_out={"fraction": 0.1, "seed": 1}))[1].rows} != held_out


def datasets(data):
    return data.train_dataset(), data.eval_dataset(data.val_set)


def test_validation_and_test_files(spec, root):
    shutil.move(root / "images", root / "elsewhere/images")
    write_rows(root / "sets/task.csv", [{"image": "images/0.png", "question": "is the digit even ?", "answer": "yes"}])
    elsewhere = {"folder": "elsewhere"}
    tests = {
        "mine": {"file": "mine.jsonl", **elsewhere},
        "shift": {"file": "mine.jsonl", **elsewhere, "role": "ood"},
        "wording": {"file": "mine.jsonl", **elsewhere, "role": "ood", "text": "wording"},
        "task": {"file": str(root / "sets/task.csv"), "folder": str(root / "elsewhere"), "role": "other"},
        "far": {"file": "sets/task.csv", **elsewhere, "role": "other", "image": "ood", "text": "open"},
        "none": None,
    }
    data = vqa(spec, root, train={"file": "mine.jsonl", **elsewhere}, val=tests["mine"], tests=tests)
    assert [tuple(eval_set) for eval_set in data.eval_sets] == [
        ("mine", "test", "id", "id", "id", 4, 20),
        ("shift", "test", "ood", "ood", "id", 4, 20),
        ("wording", "test", "ood", "id", "wording", 4, 20),
        ("task", "test", "other", "id", "task", 1, 1),
        ("far", "test", "other", "ood", "open", 1, 1),
    ]
    assert data.val_set == ("mine", "val", "id", "id", "id", 4, 20)
    assert len(data.train_dataset()) == 20
    assert data.about_validation() == ""
    assert data.label_names(data.eval_sets[0]) == sorted(COLOURS)


def test_the_test_set_is_monitored_where_nothing_is_held_out(spec, root):
    data = vqa(spec, root, held_out={"fraction": 0.0, "seed": 0}, tests={"mine": {"file": "mine.jsonl"}})
    assert data.val_set is data.eval_sets[0]
    assert len(data.train_dataset()) == 20


def test_the_training_file_is_not_needed_to_evaluate(spec, root):
    (root / "mine.jsonl").rename(root / "test.jsonl")
    data = vqa(spec, root, tests={"mine": {"file": "test.jsonl"}})
    data.trains = False
    data.setup("test")
    assert sum(len(batch.indices) for loader in data.test_dataloader() for batch in loader) == 20


@pytest.mark.parametrize("letters", [False, True])
def test_the_order_of_options_is_drawn_for_each_epoch_and_seed(lettered_spec, root, letters):
    data, again = (vqa(lettered_spec, root, letters=letters) for _ in range(2))
    first, same = (module.train_dataset() for module in (data, again))
    turns = [first[0, index].turns for index in range(len(first))]
    assert turns == [same[0, index].turns for index in range(len(same))]
    assert turns != [first[1, index].turns for index in range(len(first))]
    other = vqa(lettered_spec, root, letters=letters, seed=1).train_dataset()
    assert turns != [other[0, index].turns for index in range(len(other))]
    for index, ((question, answer),) in enumerate(turns):
        true = first.rows[index].turns[0].answer
        assert (f"{answer}. {true}" if letters else true) in question.split("\n")
        assert answer == true or letters
        assert question.endswith("Choose A, B, C, or D.") == letters


@pytest.mark.parametrize("letters", [False, True])
def test_the_order_of_options_in_evaluation_is_the_same_for_all_seeds(lettered_spec, root, letters):
    tests = {"mine": {"file": "mine.jsonl"}}
    first, second = (vqa(lettered_spec, root, letters=letters, tests=tests, seed=seed) for seed in (0, 1))
    left, right = (data.eval_dataset(data.eval_sets[0]) for data in (first, second))
    turns = [left[0, index].turns for index in range(20)]
    assert turns == [right[0, index].turns for index in range(20)]
    assert len({turn.question for (turn,) in turns}) > 4
    assert left.answers == (["A", "B", "C", "D"] if letters else sorted(COLOURS))
    assert left[0, 3].answer == left.answers.index(left[0, 3].turns[0].answer)


def test_rows_without_options_keep_their_answer_among_lettered_ones(lettered_spec, root):
    write_rows(root / "mine.jsonl", [*rows(), *rows(options=None)])
    dataset = vqa(lettered_spec, root, letters=True, held_out={"fraction": 0.0, "seed": 0}, tests=MINE).train_dataset()
    assert dataset[0, 20].turns == ((QUESTION, "red"),)


MINE = {"mine": {"file": "mine.jsonl"}}


@pytest.mark.parametrize("damage", ["missing", "no image", "folder"])
def test_unreadable_images_are_replaced_in_training_and_left_out_of_evaluation(spec, root, damage):
    path = root / "images/3.png"
    path.unlink()
    if damage == "no image":
        path.write_bytes(b"<html>")
    if damage == "folder":
        path.mkdir()
    data = vqa(spec, root, held_out={"fraction": 0.0, "seed": 0}, tests=MINE, max_bad_fraction=0.05)
    trained = data.train_dataset()[0, 3]
    assert trained.turns == data.train_dataset()[0, 4].turns
    assert len(trained.unreadable) == 1
    assert trained.unreadable[0].startswith(f"{root}/mine.jsonl, line 4: {path}: ")
    left_out = data.eval_dataset(data.eval_sets[0])[0, 3]
    assert (left_out.position, left_out.unreadable) == (-1, trained.unreadable)
    batch = data.collate()([left_out, trained])
    assert batch.unreadable == trained.unreadable * 2
    assert (batch.targets[0] == -1).all()
    data.on_after_batch_transfer(batch, 0)
    assert data.unreadable == set(trained.unreadable)
    assert data.epoch_counts() == {"unreadable": 2}


def test_too_many_unreadable_images_end_the_run(spec, root):
    for number in range(1, 4):
        (root / f"images/{number}.png").unlink()
    data = vqa(spec, root, held_out={"fraction": 0.0, "seed": 0}, tests=MINE, max_bad_fraction=0.1)
    batch = data.collate()([data.train_dataset()[0, index] for index in range(4)])
    with pytest.raises(ValueError, match=r"3 images can't be read, more than max_bad_fraction=0\.1 allows of the 20"):
        data.on_after_batch_transfer(batch, 0)


def test_many_unreadable_images_in_a_row_end_the_run(spec, root):
    for number in range(1, 20):
        (root / f"images/{number}.png").unlink()
    dataset = vqa(spec, root, held_out={"fraction": 0.0, "seed": 0}, tests=MINE).train_dataset()
    with pytest.raises(
        ValueError, match=r"16 images in a row can't be read, the first .*mine\.jsonl, line 2: .*missing"
    ):
        dataset[0, 1]


def batches(data, count):
    drawn = []
    for batch in data.train_dataloader():
        drawn.append(batch)
        if len(drawn) == count:
            break
    return drawn, data.state_dict()


def test_training_resumes_at_any_batch(lettered_spec, root):
    unbroken, _ = batches(vqa(lettered_spec, root, letters=True), 4)
    _, state = batches(vqa(lettered_spec, root, letters=True), 2)
    continued = vqa(lettered_spec, root, letters=True)
    continued.load_state_dict(state)
    resumed, _ = batches(continued, 2)
    for left, right in zip(unbroken[2:], resumed, strict=True):
        assert torch.equal(left.inputs["input_ids"], right.inputs["input_ids"])
        assert torch.equal(left.inputs["pixel_values"], right.inputs["pixel_values"])


def mixed(spec, root, ratio=0.5, **options):
    data = vqa(spec, root, **options)
    auxiliary = vqa(spec, root, file="other.jsonl", evaluates=False, **options)
    data.mix_in({"other": auxiliary}, ratio)
    return data


def test_a_mix(spec, root):
    write_rows(root / "other.jsonl", rows(question="is the digit even ?", answer="yes", options=None))
    data = mixed(spec, root)
    for left, right in zip(batches(data, 4)[0], batches(mixed(spec, root), 4)[0], strict=True):
        assert torch.equal(left.inputs["input_ids"], right.inputs["input_ids"])
    assert len(data.train_loader()) == 4
    assert data.epoch_counts()["auxiliary_samples"] > 0
    assert data.val_set.name == "mine"


def test_a_mix_of_chats_with_system_messages_and_rows_of_text_alone(spec, root):
    system = {"from": "system", "value": "the digit is odd"}
    talk = [system, *sharegpt("is the digit even ?", "no")]
    alone = {"conversations": sharegpt("hello, what can you do ?", "anything", first="")}
    write_rows(
        root / "other.jsonl",
        [alone, *({"image": f"images/{number}.png", "conversations": talk} for number in range(9))],
    )
    data = mixed(spec, root)
    with pytest.warns(UserWarning, match=r"other\.jsonl: 1 of 10 rows is left out, because it has no image"):
        auxiliary = data.auxiliary_dataset("other")
    assert len(auxiliary) == 8  # one image is held out
    batch = data.collate()([auxiliary[0, 0], data.train_dataset()[0, 0]])
    assert spec.processor.tokenizer.decode(batch.inputs["input_ids"][0]).startswith("the digit is odd")


def test_unreadable_images_of_a_mix_are_counted_by_set(spec, root):
    write_images(root / "b")
    write_rows(root / "b/other.jsonl", rows())
    (root / "b/images/3.png").unlink()
    data = vqa(spec, root, max_bad_fraction=0.05)
    auxiliary = vqa(spec, root, file="b/other.jsonl", evaluates=False, max_bad_fraction=0.05)
    data.mix_in({"other": auxiliary}, 0.9)
    for batch in batches(data, 4)[0]:
        data.on_after_batch_transfer(batch, 0)
    (location,) = data.unreadable
    assert location.startswith(f"auxiliary set other: {root}/b/other.jsonl, line 4")
    assert auxiliary.unreadable == {location}
