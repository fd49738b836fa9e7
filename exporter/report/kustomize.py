"""A kustomize component for GitOps, with the new tags in `images:`.

An images transformer sets one tag for each name, regardless of the running tag. So a name is left out if its containers
need different tags, or if its entry would change a container that must stay unchanged. Names are those in manifests,
because kustomize compares them as text.
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
# A kustomize component with the newest patch of each image. Save it as image-patches/kustomization.yaml and add the
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
"""


def render(content: Content) -> str:
    """Render a `kustomization.yaml` with the images that miss a patch, and comments on those that it cannot express."""
    targets = _targets(content)
    wanted = dict.fromkeys(
        _name(finding) for finding in content.findings if finding.patch_available and _is_deployed(finding)
    )
    refused, images = [], []
    for name in wanted:
        found = {target for other in targets if _covers(name, other) for target in targets[other]}
        if len(found) == 1:
            ((tag, _),) = found
            # JSON is YAML, and quotes tags such as 1.10, which YAML would read as numbers.
            images.append(f"  - name: {json.dumps(name)}\n    newTag: {json.dumps(tag)}\n")
        elif found:
            needed = ", ".join(sorted(_shown(*target) for target in found))
            refused.append(f"# Left out: {name}. Its containers need {needed}, but an entry sets only one tag.\n")
        else:
            refused.append(
                f"# Left out: {name}. kustomize reads the name as a regular expression that does not match it.\n"
            )
    if refused:
        refused.append("# Patch these images where they are deployed, with one kustomization for each tag.\n")
    return _HEAD + "".join(refused) + ("images:\n" + "".join(images) if images else "images: []\n")


def _targets(content: Content) -> dict[str, set[tuple[str, str]]]:
    """Return for each name the tags and digests that its containers need."""
    targets: dict[str, set[tuple[str, str]]] = {}
    judged: Counter[str] = Counter()
    for finding in content.snapshot.findings:
        if finding.image and _is_deployed(finding):
            judged[finding.reference] += 1
            # A digest belongs to the old tag. A new tag replaces both.
            target = (str(finding.latest_tag), "") if finding.patch_available else _written(finding.reference)
            targets.setdefault(_name(finding), set()).add(target)
    # Containers that are deliberately missing from the findings stay unchanged.
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
    """Return whether a kustomize entry for one name changes images with another.

    kustomize reads a name as a regular expression. The only special characters of names are dots, which match one
    character each, and the brackets of IPv6 addresses. An entry with brackets matches nothing.
    """
    return len(name) == len(other) and re.fullmatch(name, other) is not None
