from pathlib import Path

import pytest

from tests.reporting.run_folders import config
from tracer_lightning.reporting.settings import label, settings_of, term_names, varied_keys

HERE = Path("/runs/a")


def labels(*configs):
    settings = [settings_of(config) for config in configs]
    keys = varied_keys(settings)
    return [label(config, keys) for config in settings]


def test_names_and_folders_of_runs_are_no_settings():
    changed = config(
        Path("/elsewhere/b"), seed=3, **{"data.root": "/data", "trainer.devices": 4, "compute.compile": True}
    )
    assert settings_of(changed) == settings_of(config(HERE))


def test_null_and_absent_are_the_same():
    assert settings_of(config(HERE, **{"trainer.max_time": None})) == settings_of(config(HERE))


def test_a_number():
    assert labels(config(HERE, beta=0.2), config(HERE, beta=1.0)) == ["kernel.beta=0.2", "kernel.beta=1"]
    assert labels(config(HERE, every=1), config(HERE, every=10)) == [
        "teacher.every_n_steps=1",
        "teacher.every_n_steps=10",
    ]
    assert labels(config(HERE), config(HERE, **{"optimizer.lr": 2e-5})) == ["optimizer.lr=0.001", "optimizer.lr=2e-05"]


def test_terms_are_named_in_one_order():
    result = labels(config(HERE, terms=["icl", "fd"]), config(HERE, terms=[]), config(HERE, terms=["crd", "fd"]))
    assert result == ["distill_losses=fd+icl", "distill_losses=none", "distill_losses=fd+crd"]
    assert term_names(["mine", "cross_kd", "fd"]) == "fd+cross_kd+mine"


def test_the_method_replaces_the_settings_that_it_implies():
    methods = config(HERE), config(HERE, "flyp", terms=[], teacher="No"), config(HERE, "static_sd", terms=["fd"])
    assert labels(*methods) == ["method=tracer", "method=flyp", "method=static_sd"]


def test_several_settings():
    result = labels(
        config(HERE, "flyp", terms=[], teacher="No"), config(HERE, beta=0.2), config(HERE), config(HERE, teacher="EMA")
    )
    assert result == [
        "method=flyp, teacher=NoTeacher",
        "method=tracer, teacher=WMATeacher, kernel.beta=0.2",
        "method=tracer, teacher=WMATeacher, kernel.beta=0.5",
        "method=tracer, teacher=EMATeacher",
    ]


def test_a_kernel_counts_where_the_teacher_has_one():
    flyp = {"method": "flyp", "terms": [], "teacher": "No"}
    assert settings_of(config(HERE, beta=0.2, **flyp)) == settings_of(config(HERE, beta=0.5, **flyp))


def test_a_setting_of_only_some_runs():
    result = labels(config(HERE, **{"trainer.new": 3}), config(HERE))
    assert result == ["trainer.new=3", "trainer.new=–"]


@pytest.mark.parametrize("count", [1, 3])
def test_equal_runs_vary_no_setting(count):
    assert varied_keys([settings_of(config(HERE))] * count) == []


def test_terms_that_are_not_computed_are_none():
    """An experiment's weight for a term that the method lacks, and terms of weight 0."""
    plain = config(HERE, terms=["crd"])
    weighed = config(HERE, terms=["crd"])
    weighed["distill_losses"]["fd"] = {"weight": 0.2}
    weighed["distill_losses"]["icl"] = {"weight": 0.0, "term": {"_target_": "x"}}
    assert settings_of(weighed) == settings_of(plain)
    assert settings_of(weighed)["distill_losses"] == "crd"


def test_how_often_is_logged_does_not_count_but_the_batch_of_its_ece_does():
    changed = config(HERE, **{"callbacks.teacher_statistics.every_n_steps": 7, "data.eval_batch_size": 512})
    assert settings_of(changed) == settings_of(config(HERE))
    sizes = [config(HERE, **{"reproduce.ece_per_batch": True, "data.eval_batch_size": size}) for size in (256, 512)]
    assert settings_of(sizes[0]) != settings_of(sizes[1])
