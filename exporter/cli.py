"""The command line: parse the arguments and run the command."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from exporter import __version__, arguments, config, logs
from exporter.app import CommandError, serve
from exporter.catalogue import CatalogueError
from exporter.cluster import ClusterConfigurationError, ClusterError
from exporter.config import Configuration, ConfigurationError
from exporter.reload import ConfigurationSource
from exporter.report.destination import OutputError, write_text
from exporter.server import ListenError

_log = logging.getLogger(__name__)

PROG = "mojaloop-image-patch-exporter"
# Reported in one line. Anything else is a bug and shows its traceback.
FAILURES = (CatalogueError, ClusterError, ClusterConfigurationError, CommandError, ListenError, OutputError)


_STATUSES = """exit status:
  0  success
  1  failure; standard error has the reason in one line. check also fails if there is nothing to check, or if --fail-on
     found nothing, but something could not be judged for a transient reason
  2  invalid usage or configuration
  3  check found something that --fail-on names
"""
_SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


class UsageError(Exception):
    """Arguments that cannot be combined."""


def main(given: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parsed = _parser().parse_args(given)
    try:
        status: int = parsed.run(parsed)
    except (ConfigurationError, UsageError) as error:
        return _failed(error, 2)
    except FAILURES as error:
        return _failed(error, 1)
    except BaseExceptionGroup as group:  # from a part of `exporting`, or from its body
        known: BaseException | None = group.subgroup(FAILURES)
        if known is None:
            raise
        while isinstance(known, BaseExceptionGroup):
            known = known.exceptions[0]
        return _failed(known, 1)
    except BrokenPipeError:
        # The reader closed our output (`check ... | head`). Without this, Python would report it again at exit.
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
        prog=PROG,
        description="Find containers that miss a patch release of their image.",
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    variable = os.environ.get(config.FILE_VARIABLE)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        default=Path(variable) if variable else None,
        help=f"configuration file (YAML, default: ${config.FILE_VARIABLE}); without one, environment variables and "
        "defaults apply",
    )
    shared.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="kubeconfig of the cluster, when running outside of it"
    )
    shared.add_argument("--context", metavar="NAME", help="kubeconfig context")

    serve = commands.add_parser(
        "serve", parents=[shared], help="watch a cluster, or a list of images, and publish metrics"
    )
    serve.add_argument("--listen", metavar="HOST:PORT", help="the address to listen on")
    serve.add_argument("--state-dir", metavar="DIR", help="directory where known tags are kept")
    serve.set_defaults(run=_serve)

    patcher = commands.add_parser("patcher", parents=[shared], help="apply approved patches in upgrade windows")
    patcher.add_argument("--listen", metavar="HOST:PORT", help="the address to listen on")
    patcher.add_argument(
        "--dry-run", action="store_true", help="print what the patcher would do and when, without changing anything"
    )
    patcher.set_defaults(run=_patcher)

    arguments.add_check(commands, shared, epilog=_STATUSES).set_defaults(run=_check)

    approve, approvals = arguments.add_approve(commands, shared)
    approve.set_defaults(run=_approve)
    approvals.set_defaults(run=_approvals)

    configuration = commands.add_parser("config", help="work with configuration files")
    validate = configuration.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "validate", help="check a configuration file and the environment variables"
    )
    validate.add_argument(
        "file",
        nargs=None if variable is None else "?",
        type=Path,
        default=Path(variable) if variable else None,
        metavar="FILE",
        help=f"configuration file (YAML, default: ${config.FILE_VARIABLE})",
    )
    validate.add_argument(
        "--skip-files", action="store_true", help="do not check that files named in the configuration exist"
    )
    validate.set_defaults(run=_validate)

    completion = commands.add_parser("completion", help="print a shell completion script")
    completion.add_argument("shell", choices=_SHELLS)
    completion.set_defaults(run=_completion)

    demo = commands.add_parser("demo", help="run the exporter with an embedded cluster and registry")
    demo.add_argument("--listen", metavar="HOST:PORT", help="the address to listen on")
    demo.set_defaults(run=_demo)

    show = commands.add_parser(
        "show",
        help="print a file: rules, outside-windows, alertmanager, slack, or dashboard exporter|fleet|images|overview|"
        "workload",
    )
    show.add_argument(
        "what",
        choices=("rules", "outside-windows", "alertmanager", "slack", "dashboard"),
        help="Prometheus rules, Prometheus rules that mute alerts outside upgrade windows, an Alertmanager example, "
        "Alertmanager's Slack template, or a Grafana dashboard",
    )
    show.add_argument(
        "name", nargs="?", metavar="NAME", help="the dashboard: exporter, fleet, images, overview or workload"
    )
    show.set_defaults(run=_show)
    return parser


def _configuration(parsed: argparse.Namespace, content: bytes | None = None) -> Configuration:
    """Load the configuration; arguments take precedence over it.

    Args:
        parsed: the arguments.
        content: of the configuration file, if already read.
    """
    # Only `serve` has an API. The patcher's pod does not mount its token.
    unread = () if parsed.run is _serve else ("api.token_file",)
    loaded = config.load(getattr(parsed, "config", None), os.environ, unread=unread, content=content)
    names = ("kubeconfig", "context", "listen", "strategy", "state_dir")
    given = {name: value for name in names if (value := getattr(parsed, name, None)) is not None}
    for name in ("listen", "strategy", "state_dir"):
        if name in given:
            given[name] = config.parse_option(name, given[name])
    return replace(loaded, **given)


def _start(parsed: argparse.Namespace, content: bytes | None = None) -> Configuration:
    """Load the configuration and set up logging; takes the arguments of `_configuration`."""
    loaded = _configuration(parsed, content)
    logs.configure(loaded.log_level, loaded.log_format)
    return loaded


def _note_proxy(loaded: Configuration) -> None:
    """Warn that the proxy of the environment is not used for registries."""
    variable = next((name for name in ("HTTPS_PROXY", "https_proxy") if os.environ.get(name)), None)
    if variable is not None and loaded.proxy is None:
        _log.warning(
            "%s is not used for registries, which are contacted directly; to use a proxy for them, set proxy in the "
            "configuration or IMAGE_PATCH_PROXY",
            variable,
        )


def _serve(parsed: argparse.Namespace) -> int:
    content = None if parsed.config is None else config.content_of(parsed.config)
    loaded = _start(parsed, content)
    _note_proxy(loaded)
    load = partial(_configuration, parsed)
    asyncio.run(serve(loaded, ConfigurationSource(parsed.config, load, content)))
    return 0


def _patcher(parsed: argparse.Namespace) -> int:
    content = None if parsed.config is None else config.content_of(parsed.config)
    loaded = _start(parsed, content)
    _note_proxy(loaded)
    from exporter.patching import patcher  # noqa: PLC0415 - `serve` does not need it

    source = ConfigurationSource(parsed.config, partial(_configuration, parsed), content)
    return asyncio.run(patcher(loaded, source, dry_run=parsed.dry_run))


def _check(parsed: argparse.Namespace) -> int:
    loaded = _start(parsed)
    if sum((bool(parsed.references), parsed.cluster, bool(parsed.manifests))) != 1:
        raise UsageError("check: expected one of: image references, --cluster, --manifests FILE")
    if parsed.namespace is not None and parsed.references:
        raise UsageError("check: --namespace needs --cluster or --manifests")
    _note_proxy(loaded)
    # `serve` needs neither this nor the demo, and imports cost most of its memory.
    from exporter.check import check  # noqa: PLC0415

    return asyncio.run(
        check(
            loaded,
            references=parsed.references,
            paths=parsed.manifests,
            cluster=parsed.cluster,
            namespace=parsed.namespace,
            output=parsed.output,
            output_file=parsed.output_file,
            only=parsed.only,
            sort=parsed.sort,
            fail_on=parsed.fail_on,
            allow_empty=parsed.allow_empty,
        )
    )


def _approve(parsed: argparse.Namespace) -> int:
    loaded = _start(parsed)
    if parsed.all == (parsed.workload is not None) or parsed.all != (parsed.namespace is not None):
        raise UsageError("approve: expected NAMESPACE/KIND/NAME, or --namespace NS --all")
    if parsed.all and (parsed.tag is not None or parsed.container):
        raise UsageError("approve: --tag and --container cannot be combined with --all")
    if not parsed.yes and not sys.stdin.isatty():
        raise UsageError("approve: no terminal to ask for confirmation; add --yes to approve without it")
    expires = config.parse_option("patcher.expiry", parsed.expires, option="--expires") if parsed.expires else None
    _note_proxy(loaded)
    from exporter.approve import WorkloadNameError, approve, workload_named  # noqa: PLC0415 - as in _check

    try:
        workload = workload_named(parsed.workload) if parsed.workload is not None else None
    except WorkloadNameError as error:
        raise UsageError(f"approve: {error}") from error
    return asyncio.run(
        approve(
            loaded,
            workload=workload,
            namespace=parsed.namespace,
            tag=parsed.tag,
            containers=parsed.container,
            expires=expires,
            yes=parsed.yes,
        )
    )


def _approvals(parsed: argparse.Namespace) -> int:
    from exporter.approve import approvals  # noqa: PLC0415 - as in _check

    return asyncio.run(approvals(_start(parsed), namespace=parsed.namespace, output=parsed.output))


def _validate(parsed: argparse.Namespace) -> int:
    config.load(parsed.file, os.environ, files=not parsed.skip_files)
    write_text(f"{parsed.file} is valid\n")
    return 0


def _completion(parsed: argparse.Namespace) -> int:
    import shtab  # noqa: PLC0415 - as in _check

    parser = _parser()
    for action in _actions(parser):
        if action.metavar in ("FILE", "DIR"):
            action.complete = shtab.FILE if action.metavar == "FILE" else shtab.DIRECTORY  # type: ignore[attr-defined]
    write_text(shtab.complete(parser, parsed.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every argument of a parser and its subcommands."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public API for it
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for inner in action.choices.values():
                yield from _actions(inner)


def _demo(parsed: argparse.Namespace) -> int:
    from exporter.demo.script import run  # noqa: PLC0415 - as in _check

    loaded = _configuration(parsed)
    # The demo prints what the exporter finds; its warnings would get in the way.
    logs.configure("error", loaded.log_format)
    return asyncio.run(run(loaded, any_port=parsed.listen is None))


def _show(parsed: argparse.Namespace) -> int:
    from exporter import show  # noqa: PLC0415 - as in _check

    try:
        write_text(show.text(parsed.what, parsed.name))
    except show.UnknownNameError as error:
        raise UsageError(str(error)) from error
    return 0
