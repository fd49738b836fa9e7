"""A shell script that patches every container to its newest patch, with comments."""

from __future__ import annotations

from exporter import words
from exporter.logs import printable
from exporter.report.content import Content


def render(content: Content) -> str:
    """Render a shell script: the commands, with comments on each and on what no command can do."""
    lines: list[str] = []
    for patch in content.patches.values():
        path = words.path(patch.workload)
        place = f"{path}: " if path else ""
        # A line break in a name would end the comment and begin a command.
        lines.append(f"# {printable(place)}{patch.image} {patch.tag} -> {patch.latest_tag}")
        if patch.advice:
            lines.append(f"# {printable(patch.advice)}")
        if patch.patch_command:
            lines.append(patch.patch_command)
        lines.append("")
    findings = content.snapshot.findings
    unknown = sum(finding.reason is not None for finding in findings)
    if unknown:
        containers = "container" if len(findings) == 1 else "containers"
        lines.append(f"# {unknown} of {len(findings)} {containers} could not be judged.")
    elif not lines:
        lines.append("# No container misses a patch.")
    return "\n".join(lines).rstrip("\n") + "\n"
