"""Cluster access with a kubeconfig or a pod's service account, loaded by `kubernetes.aio`.

The client has three faults that this module corrects. It does not name a missing kubeconfig. If a credential plugin
fails (EKS, GKE and AKS have one), it continues without credentials, and the API server returns 401. It sends requests
to localhost through the proxy of the environment.
"""

from __future__ import annotations

import ast
import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config.exec_provider import ExecProvider

from exporter.logs import shown

_FAILED = re.compile(r"exec: process returned (-?[0-9]+)(?:\. (b['\"].*))?", re.DOTALL)


class ClusterConfigurationError(Exception):
    """No usable cluster configuration: no kubeconfig, context, service account or credentials."""


async def read(*, kubeconfig: Path | None, context: str | None) -> Any:
    """Return the client's configuration: from the given kubeconfig or context, the service account inside a pod, or
    kubectl's default.

    Raises:
        ClusterConfigurationError: the configuration cannot be loaded.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            _look_for(kubeconfig)
            loader = await config.load_kube_config(
                config_file=str(kubeconfig) if kubeconfig is not None else None,
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
            if not (configuration.api_key or configuration.cert_file):
                await _check_plugin(loader)
    except (config.ConfigException, OSError, ValueError) as error:
        raise ClusterConfigurationError(f"cannot load the cluster configuration: {error}") from error
    if is_loopback(configuration.host):
        # Like kubectl. A `proxy-url` of the kubeconfig applies to every host.
        configuration.client_session_kwargs = {"trust_env": False}
    return configuration


def is_loopback(url: str) -> bool:
    """Whether a URL points to this machine, by address or as localhost."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761, section 6.3


def _look_for(kubeconfig: Path | None) -> None:
    """Raise an error that names the missing kubeconfig. The client's own error does not."""
    if kubeconfig is not None:
        if not kubeconfig.is_file():
            raise ClusterConfigurationError(f"kubeconfig {kubeconfig} does not exist")
        return
    named = os.environ.get("KUBECONFIG", "")
    files = [Path(part) for part in named.split(os.pathsep) if part] or [Path("~/.kube/config").expanduser()]
    if not any(file.is_file() for file in files):
        raise ClusterConfigurationError(
            f"no kubeconfig found ({', '.join(map(str, files))}), and this is not a pod; set one with --kubeconfig"
        )


async def _check_plugin(loader: Any) -> None:
    """Run a plugin that returned no credentials again to report why. The client only logs the failure.

    Raises:
        ClusterConfigurationError: it failed, or returned no credentials again.
    """
    user = loader._user  # noqa: SLF001 - the client has no other name for the user of the context
    if not user or "exec" not in user:
        return
    written = getattr(user["exec"], "value", None)
    command = written.get("command") if isinstance(written, dict) else written
    plugin = f"the credential plugin {shown(str(command))} of the kubeconfig"
    try:
        await ExecProvider(user["exec"]).run()
    except OSError as error:
        raise ClusterConfigurationError(f"{plugin} cannot be started: {error.strerror}") from error
    except (config.ConfigException, TypeError) as error:  # TypeError: its output is JSON, but not an object
        failed = _FAILED.fullmatch(str(error))
        if failed is None:
            raise ClusterConfigurationError(f"{plugin} failed: {shown(str(error))}") from error
        output = ast.literal_eval(failed[2]).decode(errors="replace") if failed[2] else ""
        first = shown(next(iter(output.strip().splitlines()), "no output on standard error"))
        raise ClusterConfigurationError(f"{plugin} failed with exit status {failed[1]}: {first}") from error
    raise ClusterConfigurationError(f"{plugin} returned neither a token nor a certificate")
