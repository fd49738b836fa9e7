"""Tells Prometheus which containers of a cluster miss a patch release of their image."""

__version__ = "0.1.0"

# Before any other import of ours: it decides what httpx and kubernetes import.
from exporter import lean as lean
