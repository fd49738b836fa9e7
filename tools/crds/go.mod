// Custom resource definitions that tests install, pinned by go.sum. Nothing is built, so no Go code imports this, and
// `go mod tidy` would remove it.
module tools/crds

go 1.26.0

require sigs.k8s.io/gateway-api v1.6.3
