"""Images with captions or classes: decoding, transforms, captions, splits and data modules."""
