"""A model of the cluster with Deployments and approvals of them, and a patcher that a test drives step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.patcher.settings import Settings
from tests.support.approvals import AFTER, approval
from tests.support.model_cluster import ModelCluster, ModelTransport, workload
from tests.support.patching import Always, Clock, KnownTags, Patcher

SETTINGS = Settings(soak=10.0, deadline=10.0, reserve=0.0)
FINAL = ("Applied", "RolledBack", "Refused", "Failed")


class ModelHub:
    """The hub. Time passes in steps of four seconds.

    Args:
        settings: of the patcher.
        behaviours: of images, as in `ModelCluster`.
    """

    def __init__(self, *, settings: Settings = SETTINGS, behaviours: dict[str, str] | None = None) -> None:
        self.cluster = ModelCluster(behaviours=behaviours or {})
        self.clock = Clock()
        self.windows = Always()
        self.registry = KnownTags("v1.0.0", "v1.0.1", "v1.0.2")
        self.patcher = Patcher(
            ModelTransport(self.cluster),
            self.clock,
            windows=self.windows,
            settings=settings,
            registry=self.registry,
        )
        self.engine = self.patcher.engine()

    def create(self, name: str = "thing", *, kind: str = "Deployment", **spec: Any) -> str:
        """A workload that has rolled out; returns its uid."""
        document = workload(kind, **({"progressDeadlineSeconds": 10} if kind == "Deployment" else {}), **spec)
        document["metadata"]["name"] = name
        self.cluster.add(f"{kind.lower()}s", document)
        self.cluster.settle(self.clock.now)
        return document["metadata"]["uid"]

    def approve(self, name: str = "one", workload: str = "thing", *, kind: str = "Deployment", **more: Any) -> None:
        uid = self.cluster.get(f"{kind.lower()}s", workload)["metadata"]["uid"]
        self.cluster.add("imagepatchapprovals", approval(kind, name=name, workload=workload, uid=uid, **more))

    def settings(self, **values: Any) -> None:
        """Start the patcher again with other settings."""
        known = {name: getattr(self.patcher.settings, name) for name in Settings.__dataclass_fields__}
        self.patcher.settings = Settings(**{**known, **values})
        self.engine = self.patcher.engine()

    def status(self, name: str = "one") -> dict[str, Any]:
        return self.cluster.get("imagepatchapprovals", name).get("status", {})

    def state(self, name: str = "one") -> str:
        return self.status(name).get("state", "")

    async def look(self) -> float:
        """One look of the patcher, then time passes and controllers act; returns the wait that it asked for."""
        delay = await self.engine.cycle()
        self.clock.now += 4.0
        self.cluster.tick(self.clock.now)
        return delay

    async def until(self, condition: Callable[[], Any], looks: int = 100) -> None:
        for _ in range(looks):
            if condition():
                return
            await self.look()
        raise AssertionError(f"it does not come true: {self.status()}")

    async def ended(self, name: str = "one") -> dict[str, Any]:
        await self.until(lambda: self.state(name) in FINAL)
        return self.status(name)


__all__ = ["AFTER", "FINAL", "SETTINGS", "ModelHub"]
