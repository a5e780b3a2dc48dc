"""From configuration to results: the only part of the package that knows Hydra and OmegaConf."""
