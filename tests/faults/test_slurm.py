"""Limits, preemption and cancellation on a real SLURM: nothing is lost, and what its user ends stays ended."""

import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.commands.helpers import TINY
from tests.comparing import differences, outcome
from tests.faults.processes import DDP, ENDLESS, ROOT, finish, start, trains
from tests.faults.slurm import MISSING, Cluster, let_through, wait_until, waits

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING) and "CI" not in os.environ, reason="needs Debian's slurm-wlm and munge"),
]
COMMAND = (*TINY, "callbacks.progress.refresh_rate=0", "run=x", "resume=auto")
TWO_RANKS = ("--nodes=1", "--ntasks-per-node=2")
SUBMITIT = ("hydra/launcher=slurm", "hydra.launcher.partition=main", "hydra.launcher.gpus_per_node=0")
STOPS = "stopping after this step"
BACK = "is in the queue again"


@pytest.fixture(scope="module")
def cluster():
    assert not MISSING, f"{MISSING} must be installed: apt-get install slurm-wlm munge"
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    cluster = Cluster(folder)
    yield cluster
    cluster.stop()
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def nothing_else_runs(cluster):
    yield
    cluster.cancel_all()


@pytest.fixture(scope="module")
def unbroken(finished_run):
    return outcome(finished_run.folder)


def script(*overrides, command=COMMAND, launcher="srun "):
    return launcher + shlex.join([sys.executable, str(ROOT / "train.py"), *command, *overrides])


def reads(log, text, times=1):
    """Until the job has written it so often."""
    wait_until(lambda: log.exists() and log.read_text().count(text) >= times, lambda: log.exists() and log.read_text())


@pytest.mark.parametrize("evaluates", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_two_ranks_that_are_preempted_end_as_unbroken_ones(cluster, tmp_path, evaluates):
    """In a step, and also in the evaluation before training, with nothing to save."""
    process = start(*COMMAND, *DDP, cwd=tmp_path)
    status, _, errors = finish(process)
    assert status == 0, errors
    folder, evaluation, step = (tmp_path / name for name in ("job", "evaluation", "step"))
    log = folder / "log"
    first_wait = [waits(evaluation, "on_test_batch_start", 0)] if evaluates else []
    job = cluster.sbatch(folder, script(*first_wait, waits(step), *DDP), *TWO_RANKS)
    if evaluates:
        wait_until(evaluation.exists, log.read_text)
        cluster.preempt()
        reads(log, BACK)
        let_through(evaluation)
    wait_until(step.exists, log.read_text)
    cluster.preempt()
    restarts = 2 if evaluates else 1
    reads(log, STOPS, times=restarts)
    let_through(step)
    cluster.wait(job, "COMPLETED", restarts=restarts)
    output = log.read_text()
    assert output.count("stopped by SIGTERM at step 0; the same command continues it") == restarts - 1
    assert output.count("stopped by SIGTERM at step 4; the same command continues it") == 1
    assert output.count(f"job {job} {BACK}") == restarts
    assert re.search(r"continuing .*last.ckpt at step 4", output)
    assert not differences(outcome(tmp_path / "outputs/digits/x"), outcome(folder / "outputs/digits/x"))


@pytest.mark.exhaustive
def test_a_job_preempted_in_its_prerequisite_keeps_its_place(cluster, tmp_path):
    endless = ",".join(f"'{setting}'" for setting in ENDLESS[1:])
    command = [*COMMAND[1:], f"prerequisite.overrides=[{endless}]"]
    job = cluster.sbatch(tmp_path, script(command=command), "--ntasks=1")
    prerequisites = tmp_path / "outputs/prerequisites"
    wait_until(lambda: any(trains(folder)() for folder in prerequisites.glob("*")), (tmp_path / "log").read_text)
    cluster.preempt()
    reads(tmp_path / "log", f"job {job} {BACK}")
    assert len(list(prerequisites.glob("*/checkpoints/last.ckpt"))) == 1


def test_cancelled_jobs_end_and_do_not_come_back(cluster, tmp_path):
    """Also one that is cancelled when it is about to make room, whose loading processes are sent SIGTERM twice."""
    names = ("running", "preempted")
    jobs = {}
    for name in names:
        overrides = [waits(tmp_path / name / "step", step=1), "data.num_workers=1"]
        jobs[name] = cluster.sbatch(tmp_path / name, script(*overrides), "--ntasks=1")
    for name in names:
        wait_until((tmp_path / name / "step").exists, (tmp_path / name / "log").read_text)
    for name in names:
        if name == "preempted":
            cluster.preempt()
            reads(tmp_path / name / "log", STOPS)
        cluster.call("scancel", jobs[name])
        reads(tmp_path / name / "log", STOPS)
        let_through(tmp_path / name / "step")
        cluster.wait(jobs[name], "CANCELLED", restarts=0)
        output = (tmp_path / name / "log").read_text()
        assert "stopped by SIGTERM at step 2" in output
        assert BACK not in output
        assert "warning" not in output
        assert (tmp_path / name / "outputs/digits/x/checkpoints/last.ckpt").exists()


@pytest.mark.exhaustive
def test_time_limits(cluster, tmp_path, unbroken):
    """SIGUSR1 before the limit puts the job into the queue again; without it, the limit is the end."""
    jobs = {}
    for name, options in {"warned": ["--signal=USR1@600"], "limited": []}.items():
        command = script(waits(tmp_path / name / "step"))
        jobs[name] = cluster.sbatch(tmp_path / name, command, "--ntasks=1", "--time=60", *options)
    for name, limit in (("warned", 9), ("limited", 1)):
        wait_until((tmp_path / name / "step").exists, (tmp_path / name / "log").read_text)
        cluster.call("scontrol", "update", f"JobId={jobs[name]}", f"TimeLimit={limit}")
    for name, signum in (("warned", "SIGUSR1"), ("limited", "SIGTERM")):
        log = tmp_path / name / "log"
        reads(log, f"{signum}: {STOPS}")
        if name == "warned":
            cluster.call("scontrol", "update", f"JobId={jobs[name]}", "TimeLimit=60")
        let_through(tmp_path / name / "step")
        reads(log, f"stopped by {signum} at step 4; the same command continues it")
    cluster.wait(jobs["limited"], "TIMEOUT", restarts=0)
    assert BACK not in (tmp_path / "limited/log").read_text()
    cluster.wait(jobs["warned"], "COMPLETED", restarts=1)
    assert not differences(unbroken, outcome(tmp_path / "warned/outputs/digits/x"))


@pytest.mark.exhaustive
def test_a_job_without_srun_and_grace_saves_its_work(cluster, tmp_path):
    """SLURM itself puts it into the queue again."""
    overrides = [waits(tmp_path / "step", step=1), "data.num_workers=1"]
    job = cluster.sbatch(tmp_path, script(*overrides, launcher=""), "--partition=abrupt")
    log = tmp_path / "log"
    wait_until((tmp_path / "step").exists, log.read_text)
    cluster.preempt()
    reads(log, STOPS)
    let_through(tmp_path / "step")
    wait_until(lambda: cluster.job(job)["Restarts"] == "1", cluster.log)
    reads(log, "stopped by SIGTERM at step 2")
    assert "error:" not in re.sub("slurmstepd.*", "", log.read_text())
    assert "warning" not in log.read_text()


@pytest.mark.exhaustive
def test_an_array_of_submitit_s_is_preempted(cluster, tmp_path, unbroken):
    step = "${paths.output_dir}/step"
    command = [*COMMAND, *SUBMITIT, waits(step), "seed=0,1"]
    process = start("-m", *command, cwd=tmp_path, **cluster.environment)
    runs = [tmp_path / f"outputs/digits/x/{number}-tracer-seed{number}" for number in (0, 1)]
    for folder in runs:
        wait_until((folder / "step").exists, lambda: process.poll() or cluster.log())
    cluster.preempt()
    logs = [log for folder in (tmp_path / "outputs").rglob(".submitit") for log in folder.glob("*_*/*_0_log.err")]
    assert len(logs) == 2
    for log in logs:
        reads(log, STOPS)
    for folder in runs:
        let_through(folder / "step")
    status, _, errors = finish(process)
    assert status == 0, errors
    assert not differences(unbroken, outcome(runs[0]))
    for log in logs:
        output = log.with_suffix(".out").read_text()
        assert "this job is preempted" in log.read_text() + output
        assert re.search(r"continuing .*last.ckpt at step 4", output)


@pytest.mark.exhaustive
def test_a_search_on_slurm(cluster, tmp_path):
    search = ("search=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2")
    process = start(*search, *COMMAND, *SUBMITIT, cwd=tmp_path, **cluster.environment)
    status, _, errors = finish(process)
    assert status == 0, errors
    sweep = tmp_path / "outputs/digits/x"
    scores = [
        json.loads(path.read_text())["validation"]["spurious"]["accuracy"] for path in sweep.glob("*/results.json")
    ]
    assert len(scores) == 2
    best = (sweep / "optimization_results.yaml").read_text()
    assert float(re.search(r"best_value: (\S+)", best)[1]) == pytest.approx(max(scores))
