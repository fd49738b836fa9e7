"""How many containers each namespace may have judged: the first workloads by kind and name, the same on each replica.

No I/O and no clock. Of what exceeds the limit some workloads are shown as refused, and the rest is only counted:
otherwise the refusals would cost what the limit saves.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from exporter.workloads import WorkloadKey

_SHOWN = 100


class _Namespace:
    """The workloads of a namespace, sorted, with the number of containers of each."""

    def __init__(self) -> None:
        self.keys: list[WorkloadKey] = []
        self.sizes: dict[WorkloadKey, int] = {}
        self.total = 0


class Quota:
    """Counts containers by namespace.

    Args:
        most: containers of a namespace.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._namespaces: dict[str, _Namespace] = {}

    def put(self, key: WorkloadKey, containers: int) -> None:
        """Add or replace a workload. One without containers counts as if it had one."""
        namespace = self._namespaces.setdefault(key.namespace, _Namespace())
        size = max(1, containers)
        if (before := namespace.sizes.get(key)) is None:
            insort(namespace.keys, key)
        namespace.total += size - (before or 0)
        namespace.sizes[key] = size

    def remove(self, key: WorkloadKey) -> None:
        """Remove a workload, if it is there."""
        namespace = self._namespaces.get(key.namespace)
        if namespace is None or (size := namespace.sizes.pop(key, None)) is None:
            return
        namespace.total -= size
        del namespace.keys[bisect_left(namespace.keys, key)]
        if not namespace.keys:
            del self._namespaces[key.namespace]

    def exceeded(self, namespace: str) -> bool:
        """Whether a namespace has more containers than may be judged."""
        found = self._namespaces.get(namespace)
        return found is not None and found.total > self._most

    def split(self, namespace: str) -> tuple[Sequence[WorkloadKey], Sequence[WorkloadKey]]:
        """The workloads that are judged, and of the others those that are shown as refused."""
        found = self._namespaces.get(namespace)
        if found is None:
            return (), ()
        if found.total <= self._most:
            return found.keys, ()
        left, judged = self._most, 0
        for key in found.keys:
            left -= found.sizes[key]
            if left < 0:
                break
            judged += 1
        return found.keys[:judged], found.keys[judged : judged + _SHOWN]
