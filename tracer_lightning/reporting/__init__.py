"""Tables, figures and reports of results, and comparisons of runs."""
