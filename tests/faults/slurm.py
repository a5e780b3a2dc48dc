"""A real SLURM of one node on loopback, with jobs that stop where a test wants them to."""

import getpass
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

import lightning.pytorch as pl

from tests.faults.processes import PATIENCE, ROOT

DAEMONS = ("munged", "slurmctld", "slurmd")
PATH = f"{os.environ['PATH']}:/usr/sbin"
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
MISSING = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=PATH) is None]
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=120
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=4000
PartitionName=main Nodes={host} Default=YES PriorityTier=1 GraceTime=600
PartitionName=abrupt Nodes={host} PriorityTier=1 GraceTime=0
PartitionName=urgent Nodes={host} PriorityTier=10
"""
"""Jobs may start again after five seconds instead of two minutes; the node has more CPUs than the machine."""


class Cluster:
    """SLURM with partitions ``main`` and ``abrupt``, which ``urgent`` preempts with and without a grace period.

    Args:
        folder: where all of its files are; a short path, because there is a socket among them.
    """

    def __init__(self, folder):
        self.folder = folder
        (folder / "spool").mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o400)
        with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
            ports = [server.getsockname()[1] for server in (first, second)]
        host = socket.gethostname().partition(".")[0]
        settings = CONFIGURATION.format(host=host, ports=ports, user=getpass.getuser(), folder=folder)
        (folder / "slurm.conf").write_text(settings)
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": f"{folder}/slurm.conf", "PYTHONPATH": str(ROOT)}
        munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        commands = (
            ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", host],
        )
        self.daemons = []
        try:
            for command in commands:
                self._start(command)
            wait_until(lambda: "idle" in self.call("sinfo", "-h", "-o", "%T"), self.log)
        except BaseException:
            self.stop()
            raise

    def _start(self, command):
        with (self.folder / f"{command[0]}.out").open("w") as out:
            daemon = subprocess.Popen(
                [*ENDS_WITH_US, *command],
                env=self.environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.daemons.append(daemon)
        if command[0] == "munged":
            wait_until((self.folder / "munge.socket").exists, self.log)

    def log(self):
        """What the daemons have said."""
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.out"))

    def stop(self):
        """End all jobs and daemons."""
        if len(self.daemons) == len(DAEMONS):
            self.cancel_all()
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def cancel_all(self):
        """End all jobs, and wait until they are gone."""
        self.call("scancel", "--user", getpass.getuser())
        self.call("scancel", "--full", "--signal=KILL", "--user", getpass.getuser())
        wait_until(lambda: not self.call("squeue", "-h"), self.log)

    def call(self, *command):
        """What a SLURM command prints."""
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0 or command[0] == "sinfo", f"{command}: {result.stderr}"
        return result.stdout

    def sbatch(self, folder, script, *options):
        """Submit a job that runs in the folder, and writes what it prints to ``log``, too.

        Returns:
            The job's number.
        """
        folder.mkdir(exist_ok=True)
        (folder / "job.sh").write_text(f"#!/bin/bash\n{script}\n")
        output = (f"--chdir={folder}", f"--output={folder}/log", "--open-mode=append")
        return self.call("sbatch", "--parsable", *output, *options, str(folder / "job.sh")).strip()

    def job(self, number):
        """All that SLURM shows of a job."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.call("scontrol", "show", "job", number)))

    def preempt(self):
        """Submit a job that needs the whole node, but does nothing with it."""
        self.sbatch(self.folder / "urgent", "true", "--partition=urgent", "--exclusive")

    def wait(self, number, state, restarts):
        """Until the job is in the state, started again so often."""

        def reached():
            job = self.job(number)
            return (job["JobState"], job["Restarts"]) == (state, str(restarts))

        wait_until(reached, lambda: f"{self.job(number)}\n{self.log()}")


def wait_until(condition, tell):
    """Until it holds; fails with what ``tell`` returns."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.1)


class Waits(pl.Callback):
    """Have a run wait in one of its hooks.

    Args:
        path: made when the run waits; with the suffix ``.open``, what lets it through.
        hook: name of the hook.
        step: steps that the run has taken when it waits.
    """

    def __init__(self, path, hook, step):
        self.path, self.step = Path(path), step
        setattr(self, hook, self.wait)

    def wait(self, trainer, *_, **__):
        """Wait in the hook."""
        gate = self.path.with_suffix(".open")
        if trainer.global_step == self.step and not gate.exists():
            self.path.touch()
            wait_until(gate.exists, lambda: f"{gate} was not made")


def waits(path, hook="on_train_batch_start", step=3):
    """Setting of a run that waits."""
    settings = f"_target_: tests.faults.slurm.Waits, path: '{path}', hook: {hook}, step: {step}"
    return f"+callbacks.{Path(path).name}={{{settings}}}"


def let_through(path):
    """Runs that wait at the path, and those that come to it, go on."""
    path.with_suffix(".open").touch()
