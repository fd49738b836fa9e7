"""Arguments of `check`, `approve` and `approvals`, which have more of them than the other commands."""

from __future__ import annotations

import argparse

from exporter.report import FORMATS
from exporter.report.content import MATCHES, SORTS
from exporter.report.destination import STANDARD_OUTPUT
from exporter.versions import STRATEGY_NAMES


def add_check(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser, *, epilog: str
) -> argparse.ArgumentParser:
    """Add the command.

    Args:
        commands: the commands so far.
        shared: the arguments that several commands have.
        epilog: the text below the help.
    """
    check = commands.add_parser(
        "check",
        parents=[shared],
        help="check images, a cluster or manifests once",
        epilog=f"{_formats()}\n{epilog}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_sources(check)
    check.add_argument("--strategy", choices=tuple(STRATEGY_NAMES), help="the widest version change to offer")
    check.add_argument("-o", "--output", choices=tuple(FORMATS), default="table", help="report format (see below)")
    check.add_argument(
        "--output-file",
        metavar="FILE",
        default=STANDARD_OUTPUT,
        help="write the report to this file, atomically (default: - for standard output)",
    )
    check.add_argument(
        "--only",
        choices=tuple(MATCHES),
        action="append",
        default=[],
        help="show only containers that miss a patch, cannot be judged (unknown), or are on a superseded line; may be "
        "repeated; does not affect the exit status",
    )
    check.add_argument(
        "--sort",
        choices=tuple(SORTS),
        help="sort by age (longest without its patch first), behind (most releases behind first), image (and tag), or "
        "name (namespace, kind and name); default: age in formats for people, name in formats for programs",
    )
    check.add_argument(
        "--fail-on",
        choices=(*MATCHES, "any"),
        action="append",
        default=[],
        help="exit with status 3 if a container misses a patch, cannot be judged (unknown), is on a superseded line, "
        "or any of these; may be repeated",
    )
    check.add_argument("--allow-empty", action="store_true", help="succeed if there is nothing to check")
    return check


def _add_sources(check: argparse.ArgumentParser) -> None:
    check.add_argument(
        "references",
        nargs="*",
        metavar="REFERENCE",
        help="image references to check without a cluster; - reads them from standard input, one per line",
    )
    check.add_argument("--cluster", action="store_true", help="check the workloads of a cluster")
    check.add_argument(
        "-n",
        "--namespace",
        metavar="NS",
        help="with --cluster, check only this namespace; with --manifests, the namespace of objects without one",
    )
    check.add_argument(
        "--manifests",
        action="append",
        default=[],
        metavar="FILE",
        help="check manifests: a file, a directory, or - for standard input; may be repeated",
    )


def _formats() -> str:
    """Return the formats and their purposes for the help."""
    return "formats:\n" + "".join(f"  {name:<11}{format_.purpose}\n" for name, format_ in FORMATS.items())


def add_approve(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Add the commands `approve` and `approvals`; the arguments are those of `add_check`."""
    approve = commands.add_parser("approve", parents=[shared], help="approve patches for the patcher")
    approve.add_argument("workload", nargs="?", metavar="NAMESPACE/KIND/NAME", help="the workload to patch")
    approve.add_argument("--all", action="store_true", help="approve every missing patch of a namespace")
    approve.add_argument("-n", "--namespace", metavar="NS", help="with --all, the namespace")
    approve.add_argument("--tag", metavar="TAG", help="the tag to approve (default: the newest patch)")
    approve.add_argument(
        "--container",
        action="append",
        default=[],
        metavar="NAME",
        help="patch only this container; may be repeated for containers of the same image",
    )
    approve.add_argument(
        "--expires",
        metavar="DURATION",
        help="let the approval expire if its rollout has not begun within this time, such as 7d",
    )
    approve.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    approvals = commands.add_parser("approvals", parents=[shared], help="list approvals and their state")
    approvals.add_argument("-n", "--namespace", metavar="NS", help="list only this namespace (default: all)")
    approvals.add_argument("-o", "--output", choices=("table", "json"), default="table", help="output format")
    return approve, approvals
