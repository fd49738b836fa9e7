"""For GitOps: a kustomize component whose `images:` set the new tags.

A transformer of images has one tag for each name, whatever tag runs. So a name is left out where its containers need
different tags, or where it would change a container that is to stay as it is. Names are those that manifests have:
kustomize compares them as text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable

from exporter.findings import Finding
from exporter.images import InvalidReferenceError, parse
from exporter.report.content import Content

_HEAD = """\
# A kustomize component with the newest patch of each image. Save it as image-patches/kustomization.yaml, and name the
# folder under `components:` of the kustomization.yaml that deploys these images; or copy the list `images:` there.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
"""


def render(content: Content) -> str:
    """A `kustomization.yaml` with the images that miss a patch, and comments on those that it cannot express."""
    targets = _targets(content)
    wanted = dict.fromkeys(
        _name(finding) for finding in content.findings if finding.patch_available and _is_deployed(finding)
    )
    refused, images = [], []
    for name in wanted:
        found = {target for other in targets if _covers(name, other) for target in targets[other]}
        if len(found) == 1:
            ((tag, _),) = found
            # JSON is YAML, and keeps a tag such as 1.10 from being a number.
            images.append(f"  - name: {json.dumps(name)}\n    newTag: {json.dumps(tag)}\n")
        elif found:
            needed = ", ".join(sorted(_shown(*target) for target in found))
            refused.append(f"# Left out: {name}. Its containers have to be at {needed}, and one entry sets one tag.\n")
        else:
            refused.append(f"# Left out: {name}. kustomize reads the name as an expression that does not match it.\n")
    if refused:
        refused.append("# Patch what is left out where it is deployed: one kustomization for each tag.\n")
    return _HEAD + "".join(refused) + ("images:\n" + "".join(images) if images else "images: []\n")


def _targets(content: Content) -> dict[str, set[tuple[str, str]]]:
    """For each name, the tags and digests that its containers have to be at in the end."""
    targets: dict[str, set[tuple[str, str]]] = {}
    judged: Counter[str] = Counter()
    for finding in content.snapshot.findings:
        if finding.image and _is_deployed(finding):
            judged[finding.reference] += 1
            # A digest belongs to the old tag, and a new tag replaces both.
            target = (str(finding.latest_tag), "") if finding.patch_available else _written(finding.reference)
            targets.setdefault(_name(finding), set()).add(target)
    # The containers that are left out of the findings on purpose stay as they are.
    for reference in _left_out(content.references, judged):
        try:
            targets.setdefault(parse(reference).name, set()).add(_written(reference))
        except InvalidReferenceError:
            continue
    return targets


def _left_out(references: Iterable[str], judged: Counter[str]) -> Iterable[str]:
    return Counter(references) - judged


def _is_deployed(finding: Finding) -> bool:
    return not finding.workload.is_image


def _name(finding: Finding) -> str:
    return parse(finding.reference).name


def _written(reference: str) -> tuple[str, str]:
    parsed = parse(reference)
    return parsed.tag or "", parsed.digest or ""


def _shown(tag: str, digest: str) -> str:
    return f"{tag or 'no tag'}@{digest[:19]}..." if digest else tag or "no tag"


def _covers(name: str, other: str) -> bool:
    """Whether kustomize changes images of one name by an entry for another.

    It reads a name as a regular expression. Names have no other characters that mean something in one than dots, which
    match one character each, and the brackets of IPv6 addresses, so that an entry for such a name matches nothing.
    """
    return len(name) == len(other) and re.fullmatch(name, other) is not None
