{{/* The patcher: names, labels and permissions. */}}

{{- define "image-patch.patcherName" -}}
{{- include "image-patch.fullname" . }}-patcher
{{- end }}

{{/* Other labels than the exporter's, so that no Service, monitor, budget or policy of one selects the other. */}}
{{- define "image-patch.patcherSelectorLabels" -}}
app.kubernetes.io/name: {{ include "image-patch.name" . | trunc 55 | trimSuffix "-" }}-patcher
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "image-patch.patcherLabels" -}}
{{- mustMergeOverwrite (include "image-patch.labels" . | fromYaml) (include "image-patch.patcherSelectorLabels" . | fromYaml) | toYaml -}}
{{- end }}

{{- define "image-patch.patcherAccount" -}}
{{- default (include "image-patch.patcherName" .) .Values.patcher.serviceAccount.name -}}
{{- end }}

{{- define "image-patch.patcherRole" -}}
{{- include "image-patch.roleName" . }}-patcher
{{- end }}

{{/* The kinds that it patches, of those that are watched, as JSON: {"apps": [...], "batch": [...]}. */}}
{{- define "image-patch.patcherKinds" -}}
{{- $all := list "Deployment" "StatefulSet" "DaemonSet" "CronJob" -}}
{{- $kinds := dig "kubernetes" "kinds" $all .Values.config -}}
{{- $apps := list -}}{{- $batch := list -}}
{{- range $all -}}
  {{- if has . $kinds -}}
    {{- if eq . "CronJob" -}}{{- $batch = append $batch "cronjobs" -}}
    {{- else -}}{{- $apps = append $apps (printf "%ss" (lower .)) -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- dict "apps" $apps "batch" $batch | toJson -}}
{{- end }}

{{/* Its permissions in the namespaces of workloads. docs/patching.md says what each is for, and a test compares it with what the API server
     is asked for. */}}
{{- define "image-patch.patcherRules" -}}
{{- $kinds := include "image-patch.patcherKinds" . | fromJson -}}
{{- range $group, $resources := $kinds }}
{{- if $resources }}
- apiGroups: [{{ $group }}]
  resources: {{ toJson $resources }}
  verbs: [get, patch]
{{- end }}
{{- end }}
{{- if $kinds.apps }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}
{{- if eq (dig "patcher" "statefulset_recovery" "none" .Values.config) "evict" }}
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [image-patch.mojaloop.io]
  resources: [imagepatchapprovals]
  verbs: [list]
- apiGroups: [image-patch.mojaloop.io]
  resources: [imagepatchapprovals/status]
  verbs: [patch]
{{- end }}

{{/* Refuses values with which the patcher cannot work. */}}
{{- define "image-patch.validatePatcher" -}}
{{- if not .Values.config.windows -}}
{{- include "image-patch.refuse" "patcher.enabled needs config.windows: without an upgrade window nothing is ever patched. Add one, such as {name: nights, schedule: \"0 22 * * 1-4\", duration: 4h}" -}}
{{- end -}}
{{- if not (include "image-patch.cluster" .) -}}
{{- include "image-patch.refuse" "patcher.enabled, and config.kubernetes.enabled is false: without a cluster there is nothing to patch. Disable the patcher, or enable the cluster" -}}
{{- end -}}
{{- $kinds := include "image-patch.patcherKinds" . | fromJson -}}
{{- if not (concat $kinds.apps $kinds.batch) -}}
{{- include "image-patch.refuse" "patcher.enabled, and config.kubernetes.kinds has none of Deployment, StatefulSet, DaemonSet and CronJob, which are the kinds that can be patched: add one" -}}
{{- end -}}
{{- if not (or .Values.patcher.serviceAccount.create .Values.patcher.serviceAccount.name) -}}
{{- include "image-patch.refuse" "patcher.serviceAccount.create is false, and patcher.serviceAccount.name is empty: name the ServiceAccount. The ServiceAccount `default` must not have the patcher's permissions" -}}
{{- end -}}
{{- if eq (include "image-patch.patcherAccount" .) (include "image-patch.serviceAccountName" .) -}}
{{- include "image-patch.refuse" "patcher.serviceAccount.name and serviceAccount.name are the same: the exporter would get the permissions of the patcher. Name another one" -}}
{{- end -}}
{{- if and .Values.patcher.admissionPolicy.enabled (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- include "image-patch.refuse" (printf "patcher.admissionPolicy.enabled needs Kubernetes 1.30, and this is %s. Set it to false. Then anybody who can create approvals can approve in another's name, and audit lines say `unverified`" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end }}
