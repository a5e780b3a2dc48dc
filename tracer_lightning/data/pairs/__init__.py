"""Images with captions of their own, from tables, collections of annotations, saved data sets and shards."""
