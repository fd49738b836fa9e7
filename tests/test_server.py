"""What the server renders by itself: the exporter's own metrics."""

import re

import pytest
from prometheus_client.exposition import choose_encoder

from exporter.server import _OwnMetrics
from exporter.telemetry import Telemetry


def without_process(page):
    """A page without what differs from one moment to the next."""
    return re.sub(rb"(?m)^(# \w+ )?process_.*\n", b"", page)


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=1.0.0"])
def test_own_metrics_are_those_of_the_library_whatever_changed(accept):
    telemetry = Telemetry()
    telemetry.watch_registry("docker.io")
    encode, media = choose_encoder(accept)
    own = _OwnMetrics(telemetry.registry)
    changes = [
        lambda: None,
        lambda: telemetry.registry_failures.labels("docker.io", "unreachable").inc(),
        lambda: telemetry.registry_duration.labels("docker.io").observe(0.2),
        lambda: telemetry.watch_registry("quay.io"),
        lambda: telemetry.containers.labels("judged").set(7),
    ]
    pages = []
    for change in changes:
        change()
        pages.append(without_process(own.render(encode, media)))
        assert pages[-1] == without_process(encode(telemetry.registry))
    assert len(set(pages)) == len(changes), "each change shows"
