{{/* The pod of the Deployment or StatefulSet. */}}
{{- define "image-patch.pod" -}}
metadata:
  annotations:
    {{- mustMerge (dict "checksum/config" (include "image-patch.restartConfig" . | sha256sum)) .Values.podAnnotations | toYaml | nindent 4 }}
  labels:
    {{- mustMergeOverwrite (include "image-patch.labels" . | fromYaml) .Values.podLabels | toYaml | nindent 4 }}
spec:
  {{- include "image-patch.imagePullSecrets" . | nindent 2 }}
  serviceAccountName: {{ include "image-patch.serviceAccountName" . }}
  {{- if not (include "image-patch.cluster" .) }}
  automountServiceAccountToken: false
  {{- end }}
  enableServiceLinks: false
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: exporter
      image: {{ include "image-patch.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - --config=/etc/mojaloop-image-patch-exporter/config.yaml
        - --listen=:9877
        - --state-dir=/var/lib/mojaloop-image-patch-exporter
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 9877
        {{- if .Values.api.port }}
        - name: api
          containerPort: 9878
        {{- end }}
      {{- include "image-patch.probes" . | nindent 6 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/mojaloop-image-patch-exporter
          readOnly: true
        - name: state
          mountPath: /var/lib/mojaloop-image-patch-exporter
        {{- if .Values.api.existingSecret }}
        - name: api-token
          mountPath: /etc/api-token
          readOnly: true
        {{- end }}
        {{- with include "image-patch.mounts" . | trim }}
        {{- nindent 8 . }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "image-patch.fullname" . }}
    {{- if .Values.persistence.existingClaim }}
    - name: state
      persistentVolumeClaim:
        claimName: {{ .Values.persistence.existingClaim }}
    {{- else if not .Values.persistence.enabled }}
    - name: state
      emptyDir:
        sizeLimit: {{ .Values.persistence.size }}
    {{- end }}
    {{- if .Values.api.existingSecret }}
    - name: api-token
      secret:
        secretName: {{ .Values.api.existingSecret }}
        items:
          - {key: {{ .Values.api.secretKey | quote }}, path: token}
    {{- end }}
    {{- with include "image-patch.volumes" . | trim }}
    {{- nindent 4 . }}
    {{- end }}
  {{- include "image-patch.placement" . | nindent 2 }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if gt (int .Values.replicas) 1 }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "image-patch.selectorLabels" . | nindent 10 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
{{- end }}

{{/* Common parts of the pods of the exporter and of the patcher: probes, and mounts and volumes of credentials and
     certificates. */}}
{{- define "image-patch.probes" -}}
startupProbe:
  httpGet: {path: /-/healthy, port: http}
  {{- toYaml .Values.startupProbe | nindent 2 }}
livenessProbe:
  httpGet: {path: /-/healthy, port: http}
  {{- toYaml .Values.livenessProbe | nindent 2 }}
readinessProbe:
  httpGet: {path: /-/ready, port: http}
  {{- toYaml .Values.readinessProbe | nindent 2 }}
{{- end }}

{{- define "image-patch.mounts" -}}
{{- range values .Values.registrySecrets | uniq | sortAlpha }}
- name: {{ include "image-patch.registryVolume" . }}
  mountPath: /etc/registries/{{ . }}
  readOnly: true
{{- end }}
{{- if or .Values.caBundle.configMap .Values.caBundle.secret }}
- name: ca-bundle
  mountPath: /etc/ca-bundle
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "image-patch.volumes" -}}
{{- range values .Values.registrySecrets | uniq | sortAlpha }}
- name: {{ include "image-patch.registryVolume" . }}
  secret:
    secretName: {{ . }}
    items:
      - {key: .dockerconfigjson, path: config.json}
{{- end }}
{{- with .Values.caBundle }}
{{- if .configMap }}
- name: ca-bundle
  configMap:
    name: {{ .configMap }}
    items:
      - {key: {{ .key | quote }}, path: ca.crt}
{{- else if .secret }}
- name: ca-bundle
  secret:
    secretName: {{ .secret }}
    items:
      - {key: {{ .key | quote }}, path: ca.crt}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Scheduling and DNS of all pods. */}}
{{- define "image-patch.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
