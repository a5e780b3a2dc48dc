"""From configuration to objects. With ``commands``, the only package that knows Hydra and OmegaConf."""
