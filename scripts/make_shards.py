"""Write shards in the format of the clip-benchmark datasets: ``python scripts/make_shards.py --help``."""

from tracer_lightning.commands.program import run

if __name__ == "__main__":
    run("make_shards")
