"""Tells Prometheus which containers of a cluster miss a patch release of their image."""

__version__ = "0.1.0"
