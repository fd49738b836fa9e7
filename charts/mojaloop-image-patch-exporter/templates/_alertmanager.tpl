{{/* alerts/alertmanager.yml as JSON, with the values of `slack` and without the example receivers. */}}
{{- define "image-patch.alertmanager" -}}
{{- $config := include "image-patch.file" (list . "alerts/alertmanager.yml") | fromYaml -}}
{{- if not $config.route -}}
{{- include "image-patch.refuse" (printf "alerts/alertmanager.yml cannot be read: %s" $config.Error) -}}
{{- end -}}
{{- $receivers := list -}}
{{- range $receiver := $config.receivers -}}
  {{- if $receiver.slack_configs -}}
    {{- $slacks := list -}}
    {{- range $receiver.slack_configs -}}
      {{- $slacks = append $slacks (set (deepCopy .) "channel" $.Values.slack.channel) -}}
    {{- end -}}
    {{- $receivers = append $receivers (set $receiver "slack_configs" $slacks) -}}
  {{- else if eq $receiver.name $config.route.receiver -}}
    {{- $receivers = append $receivers $receiver -}}
  {{- end -}}
{{- end -}}
{{- $_ := set $config "receivers" $receivers -}}
{{- $ours := first $config.route.routes -}}
{{- range $ours.routes -}}
  {{- if and $.Values.slack.activeTimeIntervals (eq (first .matchers) "alertname=\"MojaloopImagePatchAvailable\"") -}}
    {{- $_ := set . "active_time_intervals" (list "image-patch-active") -}}
  {{- end -}}
{{- end -}}
{{- /* A value overrides that of our route and of the routes inside it. Without a value, each route keeps its own. */ -}}
{{- range $key, $value := dict "group_by" .Values.slack.groupBy "group_wait" .Values.slack.groupWait "group_interval" .Values.slack.groupInterval "repeat_interval" .Values.slack.repeatInterval -}}
  {{- if $value -}}
    {{- range $ours.routes -}}{{- $_ := unset . $key -}}{{- end -}}
    {{- $_ := set $ours $key $value -}}
  {{- end -}}
{{- end -}}
{{- $used := list -}}
{{- range $ours.routes -}}{{- $used = concat $used (dig "active_time_intervals" list .) -}}{{- end -}}
{{- $intervals := list -}}
{{- range $config.time_intervals -}}{{- if has .name $used -}}{{- $intervals = append $intervals . -}}{{- end -}}{{- end -}}
{{- with .Values.slack.activeTimeIntervals -}}
  {{- $intervals = append $intervals (dict "name" "image-patch-active" "time_intervals" .) -}}
{{- end -}}
{{- $_ := set $config "time_intervals" $intervals -}}
{{- toJson $config -}}
{{- end }}

{{/* A part of Alertmanager's configuration in the form of an AlertmanagerConfig: names in camel case, matchers in parts.
     Call with (dict "value" VALUE). The result is JSON with the same key. */}}
{{- define "image-patch.camel" -}}
{{- $out := .value -}}
{{- if kindIs "map" .value -}}
  {{- $out = dict -}}
  {{- range $key, $value := .value -}}
    {{- if hasSuffix "matchers" $key -}}
      {{- $matchers := list -}}
      {{- range $value -}}
        {{- $parts := regexFindAll "[^=~!\"]+|[=~!]+" . 3 -}}
        {{- $matchers = append $matchers (dict "name" (index $parts 0) "matchType" (index $parts 1) "value" (index $parts 2)) -}}
      {{- end -}}
      {{- $_ := set $out ($key | replace "_matchers" "Match") $matchers -}}
    {{- else -}}
      {{- $_ := set $out ($key | camelcase | untitle) (include "image-patch.camel" (dict "value" $value) | fromJson).value -}}
    {{- end -}}
  {{- end -}}
{{- else if kindIs "slice" .value -}}
  {{- $out = list -}}
  {{- range .value -}}
    {{- $out = append $out (include "image-patch.camel" (dict "value" .) | fromJson).value -}}
  {{- end -}}
{{- end -}}
{{- dict "value" $out | toJson -}}
{{- end }}
