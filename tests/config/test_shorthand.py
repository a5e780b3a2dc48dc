from decimal import Decimal

import pytest

from tracer_lightning.config.shorthand import expand_merge, expand_similarity, progression


def test_a_command_line_in_hydras_terms():
    assert expand_merge(["merge.py", "wise_ft", "checkpoint=a", "alpha=0,0.5,...,1"]) == [
        "merge.py",
        "merge=wise_ft",
        "checkpoint=a",
        "merge.alpha=[0,0.5,1]",
    ]
    assert expand_merge(["merge.py", "model_stock", "checkpoints=a/b,c=d,e'f"]) == [
        "merge.py",
        "merge=model_stock",
        "checkpoints=['a/b','c=d','e\\'f']",
        "checkpoint='a/b'",
    ]
    assert expand_merge(["merge.py", "alpha=0.25"]) == ["merge.py", "merge.alpha=[0.25]"]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["merge=wise_ft", "merge.alpha=[0,1]"], ["-m", "x=1"], ["~data"], []]
)
def test_what_is_in_hydras_terms_stays(arguments):
    assert expand_merge(["merge.py", *arguments]) == ["merge.py", *arguments]


def test_processes_started_with_the_same_command_line_understand_the_same():
    once = expand_merge(["merge.py", "model_stock", "checkpoints=a,b", "alpha=0,1"])
    assert set(expand_merge(once)) == set(once)
    assert expand_merge(["merge.py", "checkpoints=['a','b']"]) == expand_merge(["merge.py", "checkpoints=a,b"])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0,0.1,...,1", [number / 10 for number in range(11)]),
        ("0,0.05,...,1", [number / 20 for number in range(21)]),
        ("1,0.75,...,0", [1, 0.75, 0.5, 0.25, 0]),
        ("0,0.1,...,0.3,0.5,1", [0, 0.1, 0.2, 0.3, 0.5, 1]),
        ("0,1e-1,...,0.3", [0, 0.1, 0.2, 0.3]),
        ("0,0.5,...,1", [0, 0.5, 1]),
        ("0.3", [0.3]),
    ],
)
def test_progressions_are_exact(text, numbers):
    assert [float(number) for number in progression(text.split(","))] == numbers


def test_a_progression_is_decimal():
    assert progression(["0", "0.1", "...", "1"])[3] == Decimal("0.3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,0.3,...,1", "alpha=0,0.3,...,1: steps of 0.3 don't lead from 0.3 to 1"),
        ("0,0,...,1", "steps of 0 don't lead"),
        ("0,0.1,...,-1", "steps of 0.1 don't lead from 0.1 to -1"),
        ("0,0.1,...", "dots stand between two numbers and a last one"),
        ("0,...,1", "dots stand between two numbers and a last one"),
        ("...", "dots stand between"),
        ("0,0.1,...,...,1", "'...' is no number"),
        ("half", "alpha=half: 'half' is no number; write alpha=0.5, alpha=0,0.5,1 or"),
        ("", "'' is no number"),
        ("0,nan", "'nan' is no number"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(ValueError, match="alpha=") as error:
        progression(text.split(","))
    assert message in str(error.value)


def test_one_or_several_models_to_compare_are_a_list_and_the_first_ones_settings_count():
    single = ["similarity.py", "first=['a/b']", "checkpoint='a/b'", "split=[x,y]"]
    assert expand_similarity(["similarity.py", "first=a/b", "split=[x,y]"]) == single
    several = ["similarity.py", "first=['a','c=d']", "checkpoint='a'"]
    assert (
        expand_similarity(["similarity.py", "first=a,c=d"])
        == expand_similarity(["similarity.py", "first=[a,c=d]"])
        == several
    )
    assert set(expand_similarity(several)) == set(several)
    assert expand_similarity(["similarity.py", "--help"]) == ["similarity.py", "--help"]
