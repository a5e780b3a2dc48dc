"""Processes of distributed work."""

import multiprocessing

import torch.multiprocessing as mp


def run_ranks(worker, arguments, count):
    """Run ``worker(rank, *arguments)`` in processes that are forked from one that has imported the package."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tracer_lightning.commands.train"])
    mp.start_processes(worker, arguments, nprocs=count, start_method="forkserver")
