"""The ten tasks of NAS-Bench-360 (Tu et al., 2022), converted from the files that people download to arrays."""

from tracer_lightning.data.nas_bench_360.convert import convert
from tracer_lightning.data.nas_bench_360.tasks import TASKS

__all__ = ["TASKS", "convert"]
