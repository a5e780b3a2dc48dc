"""What every data module shares: the order of samples, resumable loaders, workers."""
