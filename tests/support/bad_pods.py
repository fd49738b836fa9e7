"""kwok stages that tell a bad patch by its tag: pods that never become ready, and pods that crash after they were."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from tools import source

NEVER_READY, CRASHES = "v1.0.8", "v1.0.9"
_STAGE = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage"}
_TAGS = '.spec.containers.[].image | split(":") | last'
CRASH_MILLISECONDS = 1500


def bad_pods(folder: Path) -> list[Path]:
    """The files of the stages, for `Kube.start_controllers`."""
    return [_ready(folder), _crash(folder)]


def _ready(folder: Path) -> Path:
    """kwok's own stage, for all other tags."""
    own = Path(source("sigs.k8s.io/kwok"), "kustomize/stage/pod/fast/pod-ready.yaml")
    stage = yaml.safe_load(own.read_text())
    stage["spec"]["selector"]["matchExpressions"].append(_tag("NotIn", NEVER_READY))
    return _written(folder / own.name, stage)


def _crash(folder: Path) -> Path:
    """As a kubelet has it: the container restarts, and waits for longer and longer; the pod is no longer ready."""
    template = """
      conditions:
      - {lastTransitionTime: {{ Now | Quote }}, status: "True", type: Initialized}
      - {lastTransitionTime: {{ Now | Quote }}, status: "False", type: Ready, reason: ContainersNotReady}
      - {lastTransitionTime: {{ Now | Quote }}, status: "False", type: ContainersReady}
      containerStatuses:
      {{ range .spec.containers }}
      - image: {{ .image | Quote }}
        name: {{ .name | Quote }}
        ready: false
        restartCount: 1
        state: {waiting: {reason: CrashLoopBackOff}}
      {{ end }}
      phase: Running
    """
    key = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    ready = {"key": key, "operator": "In", "values": ["True"]}
    spec = {
        "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
        "selector": {"matchExpressions": [ready, _tag("In", CRASHES)]},
        "delay": {"durationMilliseconds": CRASH_MILLISECONDS},
        "next": {"statusTemplate": dedent(template)},
    }
    return _written(folder / "pod-crash.yaml", {**_STAGE, "metadata": {"name": "pod-crash"}, "spec": spec})


def _tag(operator: str, tag: str) -> dict[str, Any]:
    return {"key": _TAGS, "operator": operator, "values": [tag]}


def _written(path: Path, stage: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(stage))
    return path
