"""For a shell: the commands that bring every container to its newest patch, and comments on what each does."""

from __future__ import annotations

from exporter.commands import advice, patch_command
from exporter.findings import Snapshot, patch_groups


def render_commands(snapshot: Snapshot) -> str:
    """A shell script: the commands to paste, and comments on what each does and on what no command can do."""
    lines: list[str] = []
    for together, state in patch_groups(snapshot):
        first = together[0]
        key = first.workload
        # Annotations of single containers may give them different tags.
        newest = " and ".join(dict.fromkeys(str(finding.latest_tag) for finding in together))
        place = f"{key.namespace}/{key.kind}/{key.name}: " if key.kind else ""
        lines.append(f"# {place}{first.image} {first.tag} -> {newest}")
        if (said := advice(together, state)) is not None:
            lines.append(f"# {said}")
        if (command := patch_command(together, state)) is not None:
            lines.append(command)
        lines.append("")
    unknown = sum(finding.reason is not None for finding in snapshot.findings)
    if unknown:
        lines.append(f"# {unknown} of {len(snapshot.findings)} containers could not be judged.")
    elif not lines:
        lines.append("# No container misses a patch.")
    return "\n".join(lines).rstrip("\n") + "\n"
