"""Alerts about missing patches, as the shipped rules write them."""

from tests.support.promtool import RUNBOOK

HELM = "Helm release mojaloop/moja manages it: change the image's tag in the values as well."


def patch_alert(
    workload,
    *,
    image="central-ledger",
    containers=1,
    tag="v19.12.3",
    latest="v19.12.8",
    behind=5,
    days=38,
    advice=HELM,
    command=True,
    name="MojaloopImagePatchAvailable",
    severity="warning",
    **labels,
):
    """An alert about a missing patch as the rules write it, with a command of as many containers."""
    short = f"mojaloop/{image}"

    def kubectl(before, after):
        operations = ",".join(
            f'{{"op":"test","path":"/spec/template/spec/containers/{n}/image","value":"{short}:{before}"}},'
            f'{{"op":"replace","path":"/spec/template/spec/containers/{n}/image","value":"{short}:{after}"}}'
            for n in range(containers)
        )
        return f"kubectl -n mojaloop patch deployment/{workload} --type=json -p='[{operations}]'" if command else ""

    releases = (
        f"{behind} patch releases behind {latest}, the first" if behind > 1 else f"1 patch release behind {latest},"
    )
    return {
        "labels": {
            "alertname": name,
            "severity": severity,
            "cluster": "north",
            "namespace": "mojaloop",
            "workload_kind": "Deployment",
            "workload": workload,
            "image": f"docker.io/{short}",
            "tag": tag,
            **labels,
        },
        "annotations": {
            "summary": "A newer patch release of a running image is available.",
            "description": (
                f"Deployment mojaloop/{workload} runs docker.io/{short}:{tag}, {releases} published at least"
                f" {days} days ago.{f' {advice}' if advice else ''}"
            ),
            "patch_command": kubectl(tag, latest),
            "rollback_command": kubectl(latest, tag),
            "changes_url": f"https://github.com/{short}/compare/{tag}...{latest}",
            "runbook_url": RUNBOOK + name.lower(),
            "dashboard_url": (
                f"http://grafana/d/mojaloop-image-patch-workload?var-namespace=mojaloop&var-workload={workload}"
            ),
        },
    }
