"""What a command line with -m would run."""

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict


def master(*overrides):
    """The configuration of a sweep, with Hydra's own part."""
    loader = GlobalHydra.instance().config_loader()
    return loader.load_configuration("train", list(overrides), run_mode=RunMode.MULTIRUN)


def jobs(*overrides):
    """The overrides of every job, as the basic sweeper makes them from the sweep inside the configuration."""
    params = master(*overrides).hydra.sweeper.params or {}
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    written = [f"{key}={value}" for key, value in params.items()]
    (batch,) = BasicSweeper.split_arguments(parser.parse_overrides([*written, *overrides]), None)
    return batch


def folder_of(number, *overrides):
    """The name of a job's folder; -1 is the last job."""
    numbered_job = list(enumerate(jobs(*overrides)))[number]
    swept = GlobalHydra.instance().config_loader().load_sweep_config(master(*overrides), list(numbered_job[1]))
    with open_dict(swept):
        swept.hydra.job.num = numbered_job[0]
    return OmegaConf.select(swept, "hydra.sweep.subdir")
