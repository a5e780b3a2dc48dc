"""Seconds of a run by phase."""

import time

import pytest

from tracer_lightning.phases import measure_phases, phase, seconds_by_phase


def pause():
    time.sleep(0.02)


def test_each_moment_counts_for_the_innermost_phase():
    with measure_phases() as phases:
        began = time.perf_counter()
        with phase("evaluation"):
            pause()
            with phase("report"):
                pause()
                pause()
        pause()
        seconds = phases.take()
        passed = time.perf_counter() - began
    assert set(seconds) == {"evaluation", "report", "other"}
    assert sum(seconds.values()) == pytest.approx(passed, abs=0.005)
    assert seconds["report"] >= 0.04
    assert min(seconds["evaluation"], seconds["other"]) >= 0.02


@phase("build")
def fail():
    pause()
    raise ValueError("no data")


def test_a_phase_that_fails_is_counted_and_ended():
    with measure_phases() as phases:
        with pytest.raises(ValueError, match="no data"):
            fail()
        assert phases.is_idle
        assert phases.take()["build"] >= 0.02


def test_a_run_includes_what_preceded_it_and_the_next_one_does_not():
    with measure_phases():
        with phase("imports"):
            pause()
        with measure_phases() as first, phase("training"):
            pause()
        assert set(first.take()) == {"imports", "training", "other"}
        with measure_phases() as second, phase("training"):
            pause()
        assert set(second.take()) == {"training", "other"}


def test_a_run_within_a_phase_is_measured_by_itself():
    with measure_phases() as outer:
        with phase("prerequisite"), measure_phases() as inner, phase("training"):
            pause()
        assert set(inner.take()) == {"training", "other"}
        assert set(outer.take()) == {"prerequisite", "other"}


def test_without_a_measurement_phases_do_nothing():
    with phase("training"):
        assert seconds_by_phase() == {}
