"""What is made of results: tables, figures, comparisons of runs, reports."""
