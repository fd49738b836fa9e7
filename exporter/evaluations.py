"""Evaluate workloads in a thread, with namespaces taking turns.

Reading the annotations of a hostile workload can take 50 ms. A thousand of them delay only their own namespace: each
round alternates between namespaces, and ends after a second.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from exporter.evaluate import Evaluated
from exporter.workloads import Workload, WorkloadKey

ROUND_SECONDS = 1.0


class Evaluations:
    """The queue of workloads to evaluate.

    Args:
        evaluate: evaluates a workload; called in a thread.
        clock: monotonic seconds.
    """

    def __init__(self, evaluate: Callable[[Workload], Evaluated], clock: Callable[[], float] = time.monotonic) -> None:
        self._evaluate = evaluate
        self._clock = clock
        self._waiting: dict[WorkloadKey, Workload] = {}
        # The default executor would wait for names that DNS does not answer.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluate")

    @property
    def waiting(self) -> bool:
        """Return whether the last round left workloads."""
        return bool(self._waiting)

    async def round(
        self, changed: Mapping[WorkloadKey, Workload | None], *, seconds: float = math.inf
    ) -> dict[WorkloadKey, tuple[Workload, Evaluated] | None]:
        """Evaluate changed and left-over workloads until the time is up, at least one.

        Args:
            changed: the changed workloads; None for deleted ones.
            seconds: the time limit.

        Returns:
            The results of the evaluated workloads; None for deleted ones.
        """
        gone = [key for key, workload in changed.items() if workload is None]
        for key in gone:
            self._waiting.pop(key, None)
        self._waiting.update((key, workload) for key, workload in changed.items() if workload is not None)
        if not self._waiting:
            return dict.fromkeys(gone)
        turns = [self._waiting[key] for key in _in_turns(self._waiting)]
        loop = asyncio.get_running_loop()
        evaluated = await loop.run_in_executor(self._thread, self._take, turns, seconds)
        for key in evaluated:
            del self._waiting[key]
        return {**dict.fromkeys(gone), **evaluated}

    def _take(self, turns: Iterable[Workload], seconds: float) -> dict[WorkloadKey, tuple[Workload, Evaluated]]:
        end, evaluated = self._clock() + seconds, {}
        for workload in turns:
            evaluated[workload.key] = workload, self._evaluate(workload)
            if self._clock() >= end:
                break
        return evaluated


def _in_turns(keys: Iterable[WorkloadKey]) -> list[WorkloadKey]:
    """Return the first workload of each namespace, then the second of each, and so on."""
    before: Counter[str] = Counter()
    turns = []
    for key in sorted(keys):
        turns.append((before[key.namespace], key))
        before[key.namespace] += 1
    return [key for _, key in sorted(turns)]
