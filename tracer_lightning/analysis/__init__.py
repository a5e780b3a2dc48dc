"""What is made of results: figures, tables, comparisons."""
