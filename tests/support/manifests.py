"""A Deployment as Helm renders it."""

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: ledger
  labels: {app.kubernetes.io/managed-by: Helm}
  annotations: {meta.helm.sh/release-name: moja, meta.helm.sh/release-namespace: mojaloop}
spec:
  replicas: 2
  template:
    metadata:
      annotations: {image-patch.mojaloop.io/strategy: minor, other: x}
    spec:
      initContainers:
        - {name: migrate, image: "mojaloop/ledger:v1.0.0"}
      containers:
        - {name: main, image: "mojaloop/ledger:v1.0.0"}
        - {name: sidecar, image: "mojaloop/event-sidecar:v14.0.0"}
"""
