"""Shards: tar files of samples in the format of the clip-benchmark datasets."""
