"""tracer-lightning: robust fine-tuning of CLIP with a trajectory-averaging teacher."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tracer-lightning")
except PackageNotFoundError:  # used from a checkout that was not installed
    __version__ = "0.0.0"
