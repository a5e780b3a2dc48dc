"""The commands, one module each, and the command line and steps that they share."""
