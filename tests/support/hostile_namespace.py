"""A hub of 500 pods, and a namespace with the most expensive objects that the API server accepts.

`Sizes` sets their number: the test uses fewer than the benchmark.
"""

from __future__ import annotations

import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.exporter_process import Exporter
from tests.support.kube import Kube
from tests.support.workloads import owner

HOSTILE = "hostile"
TAGS = ("v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0")
_PREFIX = "image-patch.mojaloop.io/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Number of objects of each sort.

    Attributes:
        services: Deployments of the hub, each with a ReplicaSet and five pods.
        patterns: Deployments with 100 expensive regular expressions each.
        images: Deployments with an image that no registry has.
        owned: pods of one custom controller.
        annotated: pods with 250 KB of annotations.
        many: Deployments with 3,000 containers.
    """

    services: int = 100
    patterns: int = 10
    images: int = 400
    owned: int = 3000
    annotated: int = 300
    many: int = 10


def _deployment(name: str, containers: list[dict[str, Any]], annotations: dict[str, str] | None = None) -> Any:
    labels = {"app": name}
    template = {"metadata": {"labels": labels, "annotations": annotations or {}}, "spec": {"containers": containers}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return "Deployment", {"metadata": {"name": name, "labels": labels}, "spec": spec}


def _pod(name: str, image: str, **metadata: Any) -> Any:
    return "Pod", {"metadata": {"name": name, **metadata}, "spec": {"containers": [{"name": "main", "image": image}]}}


def hub(host: str, service: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a service of the hub: its Deployment, ReplicaSet and pods."""
    name, image = f"service-{service}", f"{host}/mojaloop/service-{service % 20}:v1.0.2"
    kind, body = _deployment(name, [{"name": "main", "image": image}])
    yield kind, body
    of_deployment = owner("Deployment", name, "apps/v1")
    yield (
        "ReplicaSet",
        {**body, "metadata": {**body["metadata"], "name": f"{name}-1", "ownerReferences": of_deployment}},
    )
    of_set = owner("ReplicaSet", f"{name}-1", "apps/v1")
    for number in range(5):
        yield _pod(f"{name}-1-{number}", image, ownerReferences=of_set, labels={"app": name})


def hostile(host: str, sizes: Sizes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all objects of the hostile namespace."""
    image = f"{host}/mojaloop/service-0:v1.0.0"

    def containers(count: int, of: str = image) -> list[dict[str, Any]]:
        return [{"name": f"c{number}", "image": of} for number in range(count)]

    for number in range(sizes.patterns):
        patterns = {
            f"{_PREFIX}include-tags.c{index}": rf"v(?:[\pL\pN]{{{300 + index}}}|x{number}){{3}}" for index in range(100)
        }
        yield _deployment(f"patterns-{number}", containers(100), patterns)
    yield _deployment("repeated", containers(600))
    for number in range(sizes.images):
        yield _deployment(f"invented-{number}", containers(1, f"{host}/invented/x-{number}:v1.0.0"))
    yield _deployment("options", containers(3000), {f"{_PREFIX}strategy.c{n}": "patch" for n in range(4000)})
    for number in range(sizes.owned):
        yield _pod(f"owned-{number}", image, ownerReferences=owner("Thing", "many"))
    for number in range(sizes.annotated):
        yield _pod(f"annotated-{number}", image, annotations={f"{_PREFIX}note-{n}": "x" * 50_000 for n in range(5)})
    for number in range(sizes.many):
        yield _deployment(f"many-{number}", containers(3000, f"{host}/mojaloop/service-1:v1.0.0"))


def fill(kube: Kube, namespace: str, objects: Iterator[tuple[str, dict[str, Any]]]) -> None:
    """Create a namespace with these objects."""
    kube.namespace(namespace)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda thing: kube.create(thing[0], namespace, thing[1]), objects):
            pass


@dataclass(slots=True)
class Scrapes:
    """Results of scrapes and probes in the background.

    Attributes:
        seconds: duration of each request.
        failures: every status but 200, and every error.
    """

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def scraping(exporter: Exporter, *, every: float = 0.5) -> Iterator[Scrapes]:
    """Scrape and probe an exporter in a loop."""
    scrapes, done = Scrapes(), threading.Event()

    def run() -> None:
        while not done.wait(every):
            for path in ("/metrics", "/-/healthy"):
                began = time.monotonic()
                try:
                    status = exporter.get(path)[0]
                    if status != 200:
                        scrapes.failures.append(f"{path}: {status}")
                except (OSError, urllib.error.URLError) as error:
                    scrapes.failures.append(f"{path}: {error}")
                scrapes.seconds.append(time.monotonic() - began)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield scrapes
    finally:
        done.set()
        thread.join()


def downgrade(kube: Kube, exporter: Exporter, host: str, service: int, seconds: float) -> float:
    """Let a service of the hub run a tag that misses two patches, and return the seconds until the metrics show it.

    Raises:
        AssertionError: they do not show it in time.
    """
    name = f"service-{service}"
    image = f"{host}/mojaloop/service-{service % 20}"
    began = time.monotonic()
    path = "/spec/template/spec/containers/0/image"
    kube.patch("Deployment", "hub", name, [{"op": "replace", "path": path, "value": f"{image}:v1.0.0"}])
    missing: Callable[[], bool] = lambda: (  # noqa: E731
        exporter.value("mojaloop_image_patch_releases_behind", namespace="hub", workload=name, tag="v1.0.0") == 2.0
    )
    exporter.until(missing, seconds)
    return time.monotonic() - began
