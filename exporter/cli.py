"""The command line: parses arguments and dispatches to what runs them.

Exit status: 0 done, 1 a failure (one line on standard error), 2 wrong usage or configuration, 3 something was found
that `--fail-on` names.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from exporter import __version__, config, logs
from exporter.app import CommandError, serve
from exporter.catalogue import CatalogueError
from exporter.cluster import ClusterConfigurationError, ClusterError
from exporter.config import Configuration, ConfigurationError
from exporter.report import FORMATS
from exporter.server import ListenError
from exporter.versions import STRATEGY_NAMES

PROG = "mojaloop-image-patch-exporter"
# Reported in one line. Anything else is a bug of ours, and shows its traceback.
FAILURES = (CatalogueError, ClusterError, ClusterConfigurationError, CommandError, ListenError)


class UsageError(Exception):
    """Arguments that do not go together."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        loaded = _configuration(parsed)
        logs.configure(loaded.log_level, loaded.log_format)
        status: int = asyncio.run(parsed.run(parsed, loaded))
    except (ConfigurationError, UsageError) as error:
        return _failed(error, 2)
    except FAILURES as error:
        return _failed(error, 1)
    except BaseExceptionGroup as group:  # a part of `exporting` failed, or what ran inside it
        known: BaseException | None = group.subgroup(FAILURES)
        if known is None:
            raise
        while isinstance(known, BaseExceptionGroup):
            known = known.exceptions[0]
        return _failed(known, 1)
    except BrokenPipeError:
        # The reader of our output has closed it (`check ... | head`). Without this Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _failed(error: BaseException, status: int) -> int:
    sys.stderr.write(f"{PROG}: {' '.join(str(error).split())}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG, description="Tells which containers miss a patch release of their image."
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration (YAML); without it, environment variables and defaults apply",
    )
    shared.add_argument("--kubeconfig", type=Path, metavar="FILE", help="how to reach the cluster from outside")
    shared.add_argument("--context", metavar="NAME", help="a context of the kubeconfig")

    serve = commands.add_parser("serve", parents=[shared], help="watch a cluster and publish metrics")
    serve.add_argument("--listen", metavar="HOST:PORT", help="the address to listen on")
    serve.add_argument("--state-dir", metavar="DIR", help="the folder for the tags known so far")
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check", parents=[shared], help="judge images, a cluster or manifests once")
    check.add_argument("references", nargs="*", metavar="REFERENCE", help="image references, judged without a cluster")
    check.add_argument("--cluster", action="store_true", help="judge what runs in a cluster")
    check.add_argument(
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
    check.add_argument("--strategy", choices=tuple(STRATEGY_NAMES), help="the highest part of a version that may rise")
    check.add_argument("--output", choices=FORMATS, default="table")
    check.add_argument(
        "--fail-on",
        choices=("patch", "unknown"),
        action="append",
        default=[],
        help="exit with status 3 if there is one; may be given twice",
    )
    check.set_defaults(run=_check)

    demo = commands.add_parser("demo", help="run the exporter on an embedded cluster and registry")
    demo.add_argument("--listen", metavar="HOST:PORT", help="the address to listen on")
    demo.set_defaults(run=_demo)

    show = commands.add_parser(
        "show", help="print a file: rules, alertmanager, slack, or dashboard exporter|fleet|images|overview|workload"
    )
    show.add_argument(
        "what",
        choices=("rules", "alertmanager", "slack", "dashboard"),
        help="the rules for Prometheus, the example or the template of Slack messages for Alertmanager, or a dashboard "
        "for Grafana",
    )
    show.add_argument(
        "name", nargs="?", metavar="NAME", help="of a dashboard: exporter, fleet, images, overview or workload"
    )
    show.set_defaults(run=_show)
    return parser


def _configuration(parsed: argparse.Namespace) -> Configuration:
    """The configuration; arguments take precedence over it."""
    loaded = config.load(getattr(parsed, "config", None), os.environ)
    names = ("kubeconfig", "context", "listen", "strategy", "state_dir")
    given = {name: value for name in names if (value := getattr(parsed, name, None)) is not None}
    for name in ("listen", "strategy", "state_dir"):
        if name in given:
            given[name] = config.parse_option(name, given[name])
    return replace(loaded, **given)


async def _serve(_: argparse.Namespace, loaded: Configuration) -> int:
    await serve(loaded)
    return 0


async def _check(parsed: argparse.Namespace, loaded: Configuration) -> int:
    if sum((bool(parsed.references), parsed.cluster, bool(parsed.manifests))) != 1:
        raise UsageError("check: name image references, or --cluster, or --manifests FILE: one of the three")
    if parsed.namespace is not None and parsed.references:
        raise UsageError("check: --namespace goes with --cluster or --manifests")
    # `serve` needs neither this nor the demo, and memory is mostly imports.
    from exporter.check import check  # noqa: PLC0415

    return await check(
        loaded,
        references=parsed.references,
        paths=parsed.manifests,
        cluster=parsed.cluster,
        namespace=parsed.namespace,
        output=parsed.output,
        fail_on=parsed.fail_on,
    )


async def _demo(parsed: argparse.Namespace, loaded: Configuration) -> int:
    from exporter.demo.script import run  # noqa: PLC0415 - as in _check

    return await run(loaded, any_port=parsed.listen is None)


async def _show(parsed: argparse.Namespace, _: Configuration) -> int:
    from exporter import show  # noqa: PLC0415 - as in _check

    try:
        sys.stdout.write(show.text(parsed.what, parsed.name))
        sys.stdout.flush()
    except show.UnknownNameError as error:
        raise UsageError(str(error)) from error
    return 0
