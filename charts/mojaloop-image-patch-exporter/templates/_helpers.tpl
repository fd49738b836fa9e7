{{/* Names and labels. */}}

{{- define "image-patch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
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

{{/* The labels of an object that the Prometheus operator selects by label; an object's own go before the common ones.
     Call with (list $ OWN-LABELS). */}}
{{- define "image-patch.operatorLabels" -}}
{{- $root := first . -}}
{{- mustMergeOverwrite (include "image-patch.labels" $root | fromYaml) $root.Values.prometheusOperator.labels (last .) | toYaml -}}
{{- end }}

{{- define "image-patch.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "image-patch.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* The digest alone says what runs; the tag beside it is for people. */}}
{{- define "image-patch.image" -}}
{{- with .Values.image -}}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}:{{ .tag | default (printf "v%s" $.Chart.AppVersion) }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{/* A text file of the chart's; the folders are symbolic links, which some tools lose without a word. Call with (list $ PATH). */}}
{{- define "image-patch.file" -}}
{{- $text := (first .).Files.Get (last .) -}}
{{- if not (trim $text) -}}
{{- fail (printf "%s is not in the chart: its folder is a symbolic link into the repository, which whatever packaged or fetched the chart has lost (Flux's GitRepository does). Use the packaged chart, or copy alerts/ and grafana/ into it" (last .)) -}}
{{- end -}}
{{- $text -}}
{{- end }}

{{/* Whether Slack has been given a webhook. */}}
{{- define "image-patch.hasSlack" -}}
{{- if or .Values.slack.webhookUrl .Values.slack.existingSecret }}yes{{ end -}}
{{- end }}

{{- define "image-patch.slackSecretName" -}}
{{- default (printf "%s-slack" (include "image-patch.fullname" .)) .Values.slack.existingSecret -}}
{{- end }}

{{/* What cannot be right, with what to do about it; included where every rendering comes by. */}}
{{- define "image-patch.validate" -}}
{{- $include := dig "namespaces" "include" list .Values.config -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled: every container would be scraped twice; enable one of them" -}}
{{- end -}}
{{- if not .Values.rbac.clusterWide -}}
  {{- if not $include -}}
  {{- fail "rbac.clusterWide is false, and config.namespaces.include is empty: name the namespaces to watch there" -}}
  {{- end -}}
  {{- range $include -}}
    {{- if regexMatch "[*?\\[]" . -}}
    {{- fail (printf "rbac.clusterWide is false, and config.namespaces.include has the pattern %s: name each namespace, or give cluster-wide rights" .) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.slack.webhookUrl .Values.slack.existingSecret -}}
{{- fail "slack.webhookUrl and slack.existingSecret: give one of them" -}}
{{- end -}}
{{- if and .Values.alertmanagerSecret.enabled (not (include "image-patch.hasSlack" .)) -}}
{{- fail "alertmanagerSecret.enabled needs a webhook: set slack.existingSecret" -}}
{{- end -}}
{{- if and .Values.grafanaOperator.enabled (not .Values.dashboards.enabled) -}}
{{- fail "grafanaOperator.enabled needs dashboards.enabled: its objects refer to the dashboards' ConfigMaps" -}}
{{- end -}}
{{- if and .Values.caBundle.configMap .Values.caBundle.secret -}}
{{- fail "caBundle.configMap and caBundle.secret: give one of them" -}}
{{- end -}}
{{- range $registry, $secret := .Values.registrySecrets -}}
  {{- if dig "registries" $registry "docker_config_file" "" $.Values.config -}}
  {{- fail (printf "registrySecrets and config.registries both say where the credentials of %s are: take one away" $registry) -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* Roles stand in other namespaces, or in none: the release's namespace keeps two releases of one name apart. */}}
{{- define "image-patch.roleName" -}}
{{- printf "%s-%s" .Release.Namespace (include "image-patch.fullname" .) -}}
{{- end }}
