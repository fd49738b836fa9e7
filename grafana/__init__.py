"""The Grafana dashboards as JSON, and the code that writes them."""
