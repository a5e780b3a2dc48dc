"""Shared parts of all data modules: samplers, resumable loaders, worker processes."""
