"""The Grafana dashboards as JSON, and their generator."""
