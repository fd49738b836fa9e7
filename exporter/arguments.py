"""The arguments of `check`, `approve` and `approvals`, which have more than the other commands."""

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
        shared: what several commands have.
        epilog: what stands below the help.
    """
    check = commands.add_parser(
        "check",
        parents=[shared],
        help="judge images, a cluster or manifests once",
        epilog=f"{_formats()}\n{epilog}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_sources(check)
    check.add_argument("--strategy", choices=tuple(STRATEGY_NAMES), help="the highest part of a version that may rise")
    check.add_argument("-o", "--output", choices=tuple(FORMATS), default="table", help="the format of the report")
    check.add_argument(
        "--output-file",
        metavar="FILE",
        default=STANDARD_OUTPUT,
        help="write the report to this file, which is replaced in one step; - (the default) is standard output",
    )
    check.add_argument(
        "--only",
        choices=tuple(MATCHES),
        action="append",
        default=[],
        help="show only what misses a patch, cannot be judged, or is on a line that a newer one superseded; may be "
        "given several times. The exit status is about everything that was checked",
    )
    check.add_argument(
        "--sort",
        choices=tuple(SORTS),
        help="age: what has missed a patch longest comes first; behind: what misses most releases; image: by image "
        "and tag; name: by namespace, kind and name. By default age for people and name for programs",
    )
    check.add_argument(
        "--fail-on",
        choices=(*MATCHES, "any"),
        action="append",
        default=[],
        help="exit with status 3 if a container misses a patch, cannot be judged, or is on a line that a newer one "
        "superseded; may be given several times",
    )
    check.add_argument("--allow-empty", action="store_true", help="do not fail if there is nothing to check")
    return check


def _add_sources(check: argparse.ArgumentParser) -> None:
    check.add_argument(
        "references",
        nargs="*",
        metavar="REFERENCE",
        help="image references, judged without a cluster; - for those in standard input, one on each line",
    )
    check.add_argument("--cluster", action="store_true", help="judge what runs in a cluster")
    check.add_argument(
        "-n",
        "--namespace",
        metavar="NS",
        help="with --cluster, the only namespace to judge; with --manifests, that of objects without one",
    )
    check.add_argument(
        "--manifests",
        action="append",
        default=[],
        metavar="FILE",
        help="judge what these would run: a file, a folder, or - for standard input; may be given several times",
    )


def _formats() -> str:
    """The formats for the help, each with what it is for."""
    return "formats:\n" + "".join(f"  {name:<11}{format_.purpose}\n" for name, format_ in FORMATS.items())


def add_approve(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Add the commands `approve` and `approvals`; the arguments are those of `add_check`."""
    approve = commands.add_parser("approve", parents=[shared], help="approve patches for the patcher")
    approve.add_argument("workload", nargs="?", metavar="NAMESPACE/KIND/NAME", help="the workload to patch")
    approve.add_argument("--all", action="store_true", help="approve every missing patch of a namespace")
    approve.add_argument("-n", "--namespace", metavar="NS", help="with --all, the namespace")
    approve.add_argument("--tag", metavar="TAG", help="the tag to approve, by default the newest patch")
    approve.add_argument(
        "--container",
        action="append",
        default=[],
        metavar="NAME",
        help="patch only this container; may be given several times, for containers of one image",
    )
    approve.add_argument(
        "--expires", metavar="DURATION", help="when the approval ends, such as 7d, if its rollout has not begun by then"
    )
    approve.add_argument("--yes", action="store_true", help="do not ask")
    approvals = commands.add_parser("approvals", parents=[shared], help="list approvals and what became of them")
    approvals.add_argument("-n", "--namespace", metavar="NS", help="the only namespace to list, by default all")
    approvals.add_argument("-o", "--output", choices=("table", "json"), default="table", help="the format")
    return approve, approvals
