"""Models that answer questions about images: image-text-to-text models of the ``transformers`` library.

``transformers`` and ``peft`` are imported when a model is built, so that the package works without them.
"""
