"""Questions about images, for models that answer in text."""
