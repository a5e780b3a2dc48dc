"""TRACER's theory of linear encoders, checked numerically."""
