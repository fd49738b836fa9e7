"""Export which containers of a Kubernetes cluster miss a patch release of their image, as Prometheus metrics."""

__version__ = "0.1.0"

# Must be our first import: it decides what httpx and kubernetes import.
from exporter import lean as lean
