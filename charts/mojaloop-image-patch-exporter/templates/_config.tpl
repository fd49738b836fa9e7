{{/* The configuration file: `config`, and the keys that the chart sets itself: the API's port, the paths of mounted
     credentials and certificates, and the patcher's release. */}}
{{- define "image-patch.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- range $registry, $secret := .Values.registrySecrets -}}
  {{- $entry := dict "registries" (dict $registry (dict "docker_config_file" (printf "/etc/registries/%s/config.json" $secret))) -}}
  {{- $config = mustMerge $config $entry -}}
{{- end -}}
{{- if or .Values.caBundle.configMap .Values.caBundle.secret -}}
  {{- $config = mustMerge $config (dict "ca_file" "/etc/ca-bundle/ca.crt") -}}
{{- end -}}
{{- if .Values.api.port -}}
  {{- $config = mustMerge $config (dict "api" (dict "listen" ":9878")) -}}
{{- end -}}
{{- if .Values.api.existingSecret -}}
  {{- $config = mustMerge $config (dict "api" (dict "token_file" "/etc/api-token/token")) -}}
{{- end -}}
{{- if .Values.patcher.enabled -}}
  {{- $own := dict "own_release" (printf "%s/%s" .Release.Namespace .Release.Name) "lease_name" (include "image-patch.patcherName" .) -}}
  {{- $_ := set $own "verified_approvers" .Values.patcher.admissionPolicy.enabled -}}
  {{- $config = mustMerge $config (dict "patcher" $own) -}}
  {{- if not (hasKey $config "approve_commands") -}}
    {{- $_ := set $config "approve_commands" true -}}
  {{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* The keys that need new pods when they change. A running exporter or patcher applies the other keys when the kubelet has
     updated its file, about a minute later. */}}
{{- define "image-patch.restartConfig" -}}
{{- $config := include "image-patch.config" . | fromYaml -}}
{{- $config = omit $config "approve_commands" "ca_file" "freezes" "images" "interval" "log" "patching" "proxy" -}}
{{- $config = omit $config "registries" "schedule" "strategy" "timezone" "watch" "windows" -}}
{{- with $config.patcher -}}
  {{- $live := list "deadline" "expiry" "on_failure" "reserve" "soak" "statefulset_recovery" -}}
  {{- range $live -}}{{- $_ := unset $config.patcher . -}}{{- end -}}
  {{- if not $config.patcher -}}{{- $_ := unset $config "patcher" -}}{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* The same for the patcher, which cannot change its connections to registries while it runs. */}}
{{- define "image-patch.patcherRestartConfig" -}}
{{- include "image-patch.restartConfig" . }}
{{ pick (include "image-patch.config" . | fromYaml) "proxy" "registries" | toYaml }}
{{- end }}

{{/* The rules of a role: list and watch the configured kinds, and nothing else. */}}
{{- define "image-patch.roleRules" -}}
{{- $all := list "Deployment" "StatefulSet" "DaemonSet" "ReplicaSet" "CronJob" "Job" "Pod" "ReplicationController" "Rollout" "DeploymentConfig" -}}
{{- $kinds := dig "kubernetes" "kinds" $all .Values.config -}}
{{- $apps := list -}}{{- $batch := list -}}
{{- range list "Deployment" "StatefulSet" "DaemonSet" -}}{{- if has . $kinds -}}{{- $apps = append $apps (printf "%ss" (lower .)) -}}{{- end -}}{{- end -}}
{{- range list "CronJob" "Job" -}}{{- if has . $kinds -}}{{- $batch = append $batch (printf "%ss" (lower .)) -}}{{- end -}}{{- end -}}
{{- with $apps }}
- apiGroups: [apps]
  resources: {{ toJson . }}
  verbs: [list, watch]
{{- end }}
{{- with $batch }}
- apiGroups: [batch]
  resources: {{ toJson . }}
  verbs: [list, watch]
{{- end }}
{{- if has "ReplicaSet" $kinds }}
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list, watch]
{{- end }}
{{- if has "Pod" $kinds }}
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
{{- end }}
{{- if has "ReplicationController" $kinds }}
- apiGroups: [""]
  resources: [replicationcontrollers]
  verbs: [get, list, watch]
{{- end }}
{{- if has "Rollout" $kinds }}
- apiGroups: [argoproj.io]
  resources: [rollouts]
  verbs: [list, watch]
{{- end }}
{{- if has "DeploymentConfig" $kinds }}
- apiGroups: [apps.openshift.io]
  resources: [deploymentconfigs]
  verbs: [list, watch]
{{- end }}
{{- end }}
