"""Contrastive models of the open_clip library."""
