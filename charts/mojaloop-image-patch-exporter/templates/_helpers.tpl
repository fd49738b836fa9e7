{{/* Stop with a message. `helm lint` ignores `fail`, so invalid values would pass it. Including a missing template is an
     error for `helm lint` too, and Helm prints its name, which is the message. */}}
{{- define "image-patch.refuse" -}}
{{- fail . -}}
{{- include . nil -}}
{{- end }}

{{/* Names and labels. */}}

{{- define "image-patch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "image-patch.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end }}

{{/* At most 52 characters: a StatefulSet's pods and their label for the revision add to it. */}}
{{- define "image-patch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "image-patch.selectorLabels" -}}
app.kubernetes.io/name: {{ include "image-patch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels of the pod of `helm test`. The Service and the budget do not select it, and the NetworkPolicy admits it. */}}
{{- define "image-patch.testLabels" -}}
app.kubernetes.io/name: {{ include "image-patch.name" . | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "image-patch.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "image-patch.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: mojaloop
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The labels of an object that the Prometheus operator selects by label. Its own labels override the common ones.
     Call with (list $ OWN-LABELS). */}}
{{- define "image-patch.operatorLabels" -}}
{{- $root := first . -}}
{{- mustMergeOverwrite (include "image-patch.labels" $root | fromYaml) $root.Values.prometheusOperator.labels (last .) | toYaml -}}
{{- end }}

{{/* Whether a cluster is watched. Without one, the exporter needs no permissions and no token. */}}
{{- define "image-patch.cluster" -}}
{{- if dig "kubernetes" "enabled" true .Values.config }}yes{{ end -}}
{{- end }}

{{- define "image-patch.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "image-patch.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* The image. A digest takes precedence over the tag, which is for people. Without `image.repository` it is the project's
     own, which has only the tags of releases: with any other tag, a pod would wait in ImagePullBackOff. `fail` is enough
     here, because `helm lint` must accept the chart without values. */}}
{{- define "image-patch.image" -}}
{{- $image := .Values.image -}}
{{- $released := eq (index .Chart.Annotations "image-patch.mojaloop.io/released") .Chart.AppVersion -}}
{{- if not (or $image.repository $image.tag $released) -}}
{{- fail (printf "image.repository: version %s is not released, so there is no image to pull. Build and push one (the README's \"Install it on a cluster\" has the commands) and set image.registry and image.repository, or name a released version with image.tag" .Chart.AppVersion) -}}
{{- end -}}
{{- with default $image.registry .Values.global.imageRegistry }}{{ . }}/{{ end -}}
{{- default "mojaloop/mojaloop-image-patch-exporter" $image.repository -}}
:{{ default (printf "v%s" .Chart.AppVersion) $image.tag -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* The image pull secrets: those of this chart, and the global ones of an umbrella chart. Some umbrella charts have names
     there and others have objects, so both are accepted. */}}
{{- define "image-patch.imagePullSecrets" -}}
{{- $secrets := list -}}
{{- range concat .Values.imagePullSecrets (default list .Values.global.imagePullSecrets) -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with $secrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The volume of a registry's Secret. The name of a Secret may have dots and be longer than the name of a volume. If so, it
     is shortened, and a hash keeps it unique. Call with the Secret's name. */}}
{{- define "image-patch.registryVolume" -}}
{{- if and (le (len .) 54) (not (contains "." .)) -}}
registry-{{ . }}
{{- else -}}
registry-{{ . | trunc 44 | replace "." "-" | trimSuffix "-" }}-{{ . | sha256sum | trunc 8 }}
{{- end -}}
{{- end }}

{{/* A StatefulSet if each replica has its own claim for its catalogue. */}}
{{- define "image-patch.kind" -}}
{{- ternary "StatefulSet" "Deployment" (and .Values.persistence.enabled (not .Values.persistence.existingClaim)) -}}
{{- end }}

{{/* A text file of the chart. Its directory is a symbolic link, which some tools drop silently. Call with (list $ PATH). */}}
{{- define "image-patch.file" -}}
{{- $text := (first .).Files.Get (last .) -}}
{{- if not (trim $text) -}}
{{- include "image-patch.refuse" (printf "%s is missing from the chart: its directory is a symbolic link into the repository, which was lost when the chart was fetched or packaged (Flux's GitRepository drops links). Use the packaged chart, or copy alerts/ and grafana/ into it" (last .)) -}}
{{- end -}}
{{- $text -}}
{{- end }}

{{/* Whether there is a Slack webhook. */}}
{{- define "image-patch.hasSlack" -}}
{{- if or .Values.slack.webhookUrl .Values.slack.existingSecret }}yes{{ end -}}
{{- end }}

{{- define "image-patch.slackSecretName" -}}
{{- default (printf "%s-slack" (include "image-patch.fullname" .)) .Values.slack.existingSecret -}}
{{- end }}

{{/* Refuse invalid values with advice. Included in the template that is always rendered. */}}
{{- define "image-patch.validate" -}}
{{- $include := dig "namespaces" "include" list .Values.config -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- include "image-patch.refuse" "serviceMonitor.enabled and podMonitor.enabled: every container would be scraped twice; enable only one" -}}
{{- end -}}
{{- if and (not (include "image-patch.cluster" .)) (not .Values.config.watch) -}}
{{- include "image-patch.refuse" "config.kubernetes.enabled is false, and config.watch is empty: nothing to watch. List images under config.watch" -}}
{{- end -}}
{{- if and (include "image-patch.cluster" .) (not .Values.rbac.clusterWide) -}}
  {{- if not $include -}}
  {{- include "image-patch.refuse" "rbac.clusterWide is false, and config.namespaces.include is empty: name the namespaces to watch there" -}}
  {{- end -}}
  {{- range $include -}}
    {{- if regexMatch "[*?\\[]" . -}}
    {{- include "image-patch.refuse" (printf "rbac.clusterWide is false, and config.namespaces.include has the pattern %s: name each namespace, or grant cluster-wide permissions" .) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $value, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels -}}
  {{- range $label, $_ := $labels -}}
    {{- if regexMatch "^(app\\.kubernetes\\.io|helm\\.sh)/" $label -}}
    {{- include "image-patch.refuse" (printf "%s: label %s is reserved, because the chart sets it and selects by it: choose another name, or set nameOverride" $value $label) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- with .Values.persistence -}}
  {{- if and .existingClaim (not .enabled) -}}
  {{- include "image-patch.refuse" "persistence.existingClaim needs persistence.enabled" -}}
  {{- end -}}
  {{- if and .existingClaim (gt (int $.Values.replicas) 1) -}}
  {{- include "image-patch.refuse" "persistence.existingClaim is one volume, and replicas is more than 1: each exporter locks its catalogue. Set replicas to 1, or remove existingClaim so each gets its own volume" -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.slack.webhookUrl .Values.slack.existingSecret -}}
{{- include "image-patch.refuse" "slack.webhookUrl and slack.existingSecret: set only one" -}}
{{- end -}}
{{- if and .Values.alertmanagerSecret.enabled (not (include "image-patch.hasSlack" .)) -}}
{{- include "image-patch.refuse" "alertmanagerSecret.enabled needs a webhook: set slack.existingSecret" -}}
{{- end -}}
{{- if and .Values.grafanaOperator.enabled (not .Values.dashboards.enabled) -}}
{{- include "image-patch.refuse" "grafanaOperator.enabled needs dashboards.enabled: its objects reference the dashboards' ConfigMaps" -}}
{{- end -}}
{{- if and .Values.api.port (eq (int .Values.api.port) (int .Values.service.port)) -}}
{{- include "image-patch.refuse" "api.port and service.port are the same: set another api.port, or leave it empty" -}}
{{- end -}}
{{- range $value, $exposed := dict "ingress" .Values.ingress "route" .Values.route -}}
  {{- if $exposed.enabled -}}
    {{- if not $.Values.api.port -}}
    {{- include "image-patch.refuse" (printf "%s.enabled needs api.port: without its own port for the API, the metrics would be exposed too" $value) -}}
    {{- end -}}
    {{- if and $.Values.networkPolicy.enabled (not $.Values.networkPolicy.apiFrom) -}}
    {{- include "image-patch.refuse" (printf "%s.enabled and networkPolicy.enabled, but networkPolicy.apiFrom is empty: list the pods of the controller there, so the policy admits them" $value) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- include "image-patch.refuse" "ingress.enabled needs ingress.hosts, such as [{host: patches.example.org}]" -}}
{{- end -}}
{{- if and .Values.route.enabled (not .Values.route.parentRefs) -}}
{{- include "image-patch.refuse" "route.enabled needs route.parentRefs, such as [{name: public, namespace: gateways}]" -}}
{{- end -}}
{{- if and .Values.caBundle.configMap .Values.caBundle.secret -}}
{{- include "image-patch.refuse" "caBundle.configMap and caBundle.secret: set only one" -}}
{{- end -}}
{{- range $registry, $secret := .Values.registrySecrets -}}
  {{- if dig "registries" $registry "docker_config_file" "" $.Values.config -}}
  {{- include "image-patch.refuse" (printf "registrySecrets and config.registries both set the credentials of %s: remove one" $registry) -}}
  {{- end -}}
{{- end -}}
{{- if .Values.patcher.enabled -}}
{{- include "image-patch.validatePatcher" . -}}
{{- end -}}
{{- end }}

{{/* The connections of the pods of the exporter and of the patcher. */}}
{{- define "image-patch.egress" -}}
# DNS.
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  to:
    {{- toYaml .Values.networkPolicy.dnsTo | nindent 4 }}
# The registries, and the API server if a cluster is watched. A policy cannot name hosts.
- ports:
    {{- range .Values.networkPolicy.egressPorts | default (include "image-patch.cluster" . | empty | ternary (list 443) (list 443 6443)) }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  to:
    {{- range .Values.networkPolicy.egressCidrs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Roles are in other namespaces or in none. The release's namespace in their names makes them unique. */}}
{{- define "image-patch.roleName" -}}
{{- printf "%s-%s" (include "image-patch.namespace" .) (include "image-patch.fullname" .) -}}
{{- end }}
