"""How to reach the cluster: a kubeconfig, or the service account of a pod, read by `kubernetes.aio`.

The client does not name a kubeconfig that is missing. Where a plugin of a kubeconfig fails (EKS, GKE and AKS have one),
it goes on without credentials, so that the API server answers 401. It sends requests to this machine through a proxy of
the environment. This module corrects these three.
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
    """No cluster is configured: there is no kubeconfig, no such context, no service account, or no credentials."""


async def read(*, kubeconfig: Path | None, context: str | None) -> Any:
    """The client's configuration: with a kubeconfig or its context if one is named, with the service account inside a
    pod, otherwise with kubectl's default.

    Raises:
        ClusterConfigurationError: neither can be read.
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
        raise ClusterConfigurationError(f"cannot read the cluster's configuration: {error}") from error
    if is_loopback(configuration.host):
        # As kubectl does. A `proxy-url` of the kubeconfig applies to every host.
        configuration.client_session_kwargs = {"trust_env": False}
    return configuration


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine, by its address or by the name localhost."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761, section 6.3


def _look_for(kubeconfig: Path | None) -> None:
    """Say which kubeconfig is missing; the client's own error does not."""
    if kubeconfig is not None:
        if not kubeconfig.is_file():
            raise ClusterConfigurationError(f"there is no kubeconfig {kubeconfig}")
        return
    named = os.environ.get("KUBECONFIG", "")
    files = [Path(part) for part in named.split(os.pathsep) if part] or [Path("~/.kube/config").expanduser()]
    if not any(file.is_file() for file in files):
        raise ClusterConfigurationError(
            f"there is no kubeconfig ({', '.join(map(str, files))}) and this is not a pod; name one with --kubeconfig"
        )


async def _check_plugin(loader: Any) -> None:
    """Run the plugin that gave no credentials again, to say why: the client only logs that.

    Raises:
        ClusterConfigurationError: it failed, or gave nothing again.
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
        first = shown(next(iter(output.strip().splitlines()), "nothing on standard error"))
        raise ClusterConfigurationError(f"{plugin} failed with exit status {failed[1]}: {first}") from error
    raise ClusterConfigurationError(f"{plugin} gave neither a token nor a certificate")
