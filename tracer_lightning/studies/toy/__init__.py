"""The toy experiment of section 5.1 of the TRACER paper."""
