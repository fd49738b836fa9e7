"""Commands made of names that anybody can choose, pasted into a real bash: none executes anything but kubectl."""

import json
import subprocess

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.commands import render
from exporter.findings import Finding, WorkloadState
from exporter.images import InvalidReferenceError, parse
from exporter.kinds import KINDS
from exporter.workloads import ContainerType, WorkloadKey, is_kind, is_object_name

_text = st.text(max_size=12) | st.sampled_from(
    ["$(touch x)", "`id`", "';touch x;'", '"', "a b", "-n", "--help", "a\nb", "\\", "a'b", "${IFS}", "&", "|", ">x"]
)
_name = _text | st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,10}[a-z0-9])?\Z")
_image = _text | st.from_regex(r"\A([a-z0-9.]{1,8}(:[0-9]{1,4})?/)?[a-z0-9]{1,6}(:[A-Za-z0-9_][A-Za-z0-9._-]{0,8})?\Z")


@given(
    st.lists(
        st.tuples(_name, _text | st.sampled_from(["Deployment", "CronJob", "Rollout"]), _name, _name, _image, _image),
        min_size=100,
        max_size=150,
    )
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_anybody_names_is_executed(tmp_path, rows):
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    # A function: a process for each of some thousand commands takes seconds.
    kubectl = """kubectl() { printf '%s\\037' "$@" >> "$LOG"; printf '\\n' >> "$LOG"; }\n"""
    expected, lines = [], []
    for namespace, kind, name, container, image, latest in rows:
        # The gate that everything passes before it becomes a finding (checker.py).
        try:
            reference, tag = parse(image), parse(f"a:{latest}").tag
        except InvalidReferenceError:
            continue
        if not (
            is_object_name(namespace) and is_kind(kind) and is_object_name(name) and is_object_name(container)
        ) or reference.tag in (None, tag):
            continue
        found = Finding(
            workload=WorkloadKey(namespace, kind, name),
            container=container,
            container_type=ContainerType.CONTAINER,
            position=0,
            reference=image,
            image=str(reference.repository),
            tag=reference.tag,
            latest_tag=tag,
            releases_behind=1,
        )
        (patch,) = render([found], WorkloadState())
        for command in filter(None, (patch.patch_command, patch.rollback_command)):
            lines.append(command)
            expected.append((namespace, f"{KINDS[kind].resource}/{name}"))
    log = tmp_path / "log"
    log.write_text("")
    script = tmp_path / "script"
    script.write_text(kubectl + "\n".join(lines) + "\n")
    environment = {"PATH": "/usr/bin:/bin", "LOG": str(log)}
    done = subprocess.run(
        ["bash", str(script)], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(folder.iterdir()) == []
    ran = [line.split("\037") for line in log.read_text().splitlines()]
    assert [(words[1], words[3]) for words in ran] == expected
    for words in ran:
        assert words[0:3:2] == ["-n", "patch"]
        assert words[4] == "--type=json"
        assert json.loads(words[5].removeprefix("-p="))
