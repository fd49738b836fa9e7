"""How the chart exposes the API and the page: their port, the token, the policy, an Ingress and an HTTPRoute."""

import pytest
import yaml

from tests.support.chart import CHART, HELMS, one, pod_spec, rendered, values

NAME = "hub-mojaloop-image-patch-exporter"
EVERYTHING = ("--values", CHART / "ci" / "everything-values.yaml")
OWN_PORT = {"api.port": 8080}


def configuration(*arguments):
    return yaml.safe_load(one(rendered(*arguments), "ConfigMap", NAME)["data"]["config.yaml"])


def ports(documents):
    container = {p["name"]: p["containerPort"] for p in pod_spec(documents)["containers"][0]["ports"]}
    service = {p["name"]: (p["port"], p["targetPort"]) for p in one(documents, "Service")["spec"]["ports"]}
    return container, service


# Its port and its token.


def test_by_default_the_api_is_on_the_port_of_the_metrics_and_nothing_exposes_it():
    documents = rendered()
    assert ports(documents) == ({"http": 9877}, {"http": (9877, "http")})
    assert "api" not in configuration()
    assert not [d for d in documents if d["kind"] in ("Ingress", "HTTPRoute")]


@pytest.mark.parametrize("binary", HELMS)
def test_the_api_gets_a_port_of_its_own(binary):
    documents = rendered(*values(**OWN_PORT), binary=binary)
    assert ports(documents) == ({"http": 9877, "api": 9878}, {"http": (9877, "http"), "api": (8080, "api")})
    assert configuration(*values(**OWN_PORT))["api"] == {"listen": ":9878"}
    (endpoint,) = one(documents, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["port"] == "http", "the metrics are where they were"


@pytest.mark.parametrize("port", [None, 8080])
def test_the_token_is_mounted_from_a_secret(port):
    chosen = values(**{"api.port": port, "api.existingSecret": "tokens", "api.secretKey": "of-the-api"})
    file = configuration(*chosen)["api"]["token_file"]
    spec = pod_spec(rendered(*chosen))
    (volume,) = (v for v in spec["volumes"] if v["name"] == "api-token")
    (item,) = volume["secret"]["items"]
    assert (volume["secret"]["secretName"], item["key"]) == ("tokens", "of-the-api")
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "api-token")
    assert mount["readOnly"] is True
    assert f"{mount['mountPath']}/{item['path']}" == file


# The policy.


def test_the_policy_lets_in_who_may_reach_the_api_and_nobody_by_default():
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]

    def rules(**more):
        return one(rendered(*values(**OWN_PORT, **{"networkPolicy.enabled": True}, **more)), "NetworkPolicy")["spec"][
            "ingress"
        ]

    (metrics,) = rules()
    assert [p["port"] for p in metrics["ports"]] == ["http"]
    before, api = rules(**{"networkPolicy.apiFrom": peers})
    assert before == metrics
    assert api == {"ports": [{"port": "api", "protocol": "TCP"}], "from": peers}


def test_without_a_port_of_its_own_the_policy_has_no_rule_for_the_api():
    chosen = {"networkPolicy.enabled": True, "networkPolicy.apiFrom": [{"podSelector": {}}]}
    assert len(one(rendered(*values(**chosen)), "NetworkPolicy")["spec"]["ingress"]) == 1


# The Ingress and the HTTPRoute.


@pytest.mark.parametrize("binary", HELMS)
def test_an_ingress_leads_to_the_api_alone(binary):
    ingress = {"enabled": True, "hosts": [{"host": "patches.hub.example"}], "className": "nginx"}
    spec = one(rendered(*values(**OWN_PORT, ingress=ingress), binary=binary), "Ingress")["spec"]
    backend = {"service": {"name": NAME, "port": {"name": "api"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    assert spec == {
        "ingressClassName": "nginx",
        "rules": [{"host": "patches.hub.example", "http": {"paths": [path]}}],
    }


def test_an_ingress_has_the_paths_labels_annotations_and_certificates_of_the_values():
    ingress = {
        "enabled": True,
        "labels": {"exposed": "true"},
        "annotations": {"example.org/auth": "on"},
        "hosts": [{"host": "a.example", "paths": [{"path": "/api", "pathType": "Exact"}]}, {"host": "b.example"}],
        "tls": [{"hosts": ["a.example"], "secretName": "a-tls"}],
    }
    found = one(rendered(*values(**OWN_PORT, ingress=ingress)), "Ingress")
    assert found["metadata"]["annotations"] == ingress["annotations"]
    assert found["metadata"]["labels"]["exposed"] == "true"
    assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "hub"
    assert found["spec"]["tls"] == ingress["tls"]
    shown = [
        (rule["host"], [(p["path"], p["pathType"]) for p in rule["http"]["paths"]]) for rule in found["spec"]["rules"]
    ]
    assert shown == [("a.example", [("/api", "Exact")]), ("b.example", [("/", "Prefix")])]
    assert "ingressClassName" not in found["spec"], "the cluster's default"


@pytest.mark.parametrize("binary", HELMS)
def test_a_route_leads_to_the_api_alone(binary):
    route = {"enabled": True, "parentRefs": [{"name": "public", "namespace": "gateways"}], "hostnames": ["a.example"]}
    found = one(rendered(*values(**OWN_PORT, route=route), binary=binary), "HTTPRoute")
    assert found["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert found["spec"] == {
        "parentRefs": route["parentRefs"],
        "hostnames": ["a.example"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": NAME, "port": 8080}],
            }
        ],
    }


def test_a_route_has_the_matches_filters_labels_and_annotations_of_the_values():
    given = yaml.safe_load((CHART / "ci" / "everything-values.yaml").read_text())["route"]
    found = one(rendered(*EVERYTHING), "HTTPRoute")
    (rule,) = found["spec"]["rules"]
    assert (rule["matches"], rule["filters"]) == (given["matches"], given["filters"])
    assert found["metadata"]["annotations"] == given["annotations"]
    assert found["metadata"]["labels"]["exposed"] == "true"
