"""The toy experiment of TRACER's section 5.1."""
