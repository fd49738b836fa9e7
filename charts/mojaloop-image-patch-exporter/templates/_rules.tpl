{{/* The annotation `approve_command` while the patcher is enabled: the value in docs/alerts.md. */}}
{{- define "image-patch.approveCommand" -}}
{{ `'{{ if .Labels.patch_command }}mojaloop-image-patch-exporter approve {{ .Labels.namespace }}/{{ .Labels.workload_kind }}/{{ .Labels.workload }} --tag {{ reReplaceAll "^.* behind |,.*" "" .Labels.behind }}{{ end }}'` }}
{{- end }}

{{/* The shipped rules as JSON, with the values of `prometheusRule` at the places marked "# value: NAME", and without disabled
     alerts. */}}
{{- define "image-patch.rules" -}}
{{- $text := include "image-patch.file" (list . "alerts/mojaloop-image-patch.rules.yml") -}}
{{- $values := .Values.prometheusRule.values -}}
{{- if not $values.approve_command -}}
  {{- $values = set (deepCopy $values) "approve_command" (.Values.patcher.enabled | ternary (include "image-patch.approveCommand" .) `""`) -}}
{{- end -}}
{{- range $name, $value := $values -}}
  {{- if not (regexMatch (printf "(?m)# value: %s$" $name) $text) -}}
  {{- include "image-patch.refuse" (printf "prometheusRule.values.%s: the rules have no such value" $name) -}}
  {{- end -}}
  {{- $text = regexReplaceAll (printf "(?m)^(\\s*(?:\\S.*?\\s)?)\\S+(\\s+# value: %s)$" $name) $text (printf "${1}%s${2}" (kindIs "string" $value | ternary $value ($value | int64 | toString))) -}}
{{- end -}}
{{- with .Values.grafana.url -}}
  {{- $text = regexReplaceAll "(?m)http://localhost:3000(/d/.*# value: grafana)$" $text (printf "%s${1}" (trimSuffix "/" .)) -}}
{{- end -}}
{{- with .Values.prometheusRule.runbookUrl -}}
  {{- $text = regexReplaceAll "(?m)https://\\S+(#\\S+\\s+# value: runbook)$" $text (printf "%s${1}" (trimSuffix "/" .)) -}}
{{- end -}}
{{- $document := fromYaml $text -}}
{{- if not $document.groups -}}
{{- include "image-patch.refuse" (printf "alerts/mojaloop-image-patch.rules.yml cannot be read: %s" $document.Error) -}}
{{- end -}}
{{- $known := list -}}
{{- range $group := $document.groups -}}
  {{- $rules := list -}}
  {{- range $rule := $group.rules -}}
    {{- if hasKey $rule "alert" -}}
      {{- $known = append $known $rule.alert -}}
      {{- $_ := set $rule "labels" (mustMerge (dig "labels" dict $rule | deepCopy) $.Values.prometheusRule.alertLabels) -}}
    {{- end -}}
    {{- if not (has (dig "alert" "" $rule) $.Values.prometheusRule.disabled) -}}
      {{- $rules = append $rules $rule -}}
    {{- end -}}
  {{- end -}}
  {{- $_ := set $group "rules" $rules -}}
{{- end -}}
{{- range .Values.prometheusRule.disabled -}}
  {{- if not (has . $known) -}}
  {{- include "image-patch.refuse" (printf "prometheusRule.disabled: unknown alert %s; expected one of %s" . ($known | uniq | join ", ")) -}}
  {{- end -}}
{{- end -}}
{{- toJson $document -}}
{{- end }}
