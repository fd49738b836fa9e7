"""The e-mail template of the shipped alerts: plain text with every command."""

import json
import subprocess

from exporter.demo.alerts import FOLDER
from tests.support.components import need


def rendered(folder, template, alerts):
    """A template on data as Alertmanager has it."""

    def common(field):
        return dict(set.intersection(*(set(alert[field].items()) for alert in alerts)))

    data = {
        "receiver": "x", "status": "firing", "externalURL": "http://alertmanager", "groupLabels": {},
        "commonLabels": common("labels"), "commonAnnotations": common("annotations"),
        "alerts": [
            {
                "status": "firing", "fingerprint": "x",
                "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-02T00:00:00Z", **alert,
            }
            for alert in alerts
        ],
    }  # fmt: skip
    (folder / "data.json").write_text(json.dumps(data))
    (amtool,) = need("amtool")
    command = [amtool, "template", "render", "--template.glob", str(FOLDER / "slack.tmpl")]
    text = f'{{{{ template "{template}" . }}}}'
    command += ["--template.text", text, "--template.data", str(folder / "data.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def alert(workload):
    return {
        "labels": {
            "alertname": "MojaloopImagePatchAvailable",
            "severity": "warning",
            "namespace": "mojaloop",
            "workload": workload,
            "image": "docker.io/mojaloop/ledger",
            "tag": "v1.0.0",
        },
        "annotations": {
            "summary": "A newer patch release of a running image is available.",
            "description": (
                f"Deployment mojaloop/{workload} runs docker.io/mojaloop/ledger:v1.0.0, "
                "1 patch release behind v1.0.1. Some advice."
            ),
            "patch_command": f"kubectl -n mojaloop patch deployment/{workload} --type=json -p='[1]'",
            "rollback_command": f"kubectl -n mojaloop patch deployment/{workload} --type=json -p='[2]'",
            "runbook_url": "https://example.org/runbook",
        },
    }


def test_a_mail_has_every_finding_with_its_commands_and_the_note_about_releases_once(tmp_path):
    alerts = [alert("one"), alert("two")]
    mail = rendered(tmp_path, "image_patch.email.text", alerts)
    for each in alerts:
        for name in ("description", "patch_command", "rollback_command"):
            assert mail.count(each["annotations"][name]) == 1
    assert mail.count("release-management.html") == 1
    assert "```" not in mail
    subject = rendered(tmp_path, "image_patch.email.subject", alerts)
    assert subject == "[warning] ledger in mojaloop: A newer patch release of a running image is available (2)"
