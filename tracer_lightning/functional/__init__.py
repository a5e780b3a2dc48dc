"""Pure functions: similarity, contrastive targets, averaging, gathering, schedules."""
