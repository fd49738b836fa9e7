{{/* The pod, of the Deployment and of the StatefulSet. */}}
{{- define "image-patch.pod" -}}
metadata:
  annotations:
    checksum/config: {{ include "image-patch.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "image-patch.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  serviceAccountName: {{ include "image-patch.serviceAccountName" . }}
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
      {{- with .Values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 9877
      startupProbe:
        httpGet: {path: /-/healthy, port: http}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /-/healthy, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /-/ready, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
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
        {{- range values .Values.registrySecrets | uniq | sortAlpha }}
        - name: registry-{{ . | trunc 54 | trimSuffix "-" }}
          mountPath: /etc/registries/{{ . }}
          readOnly: true
        {{- end }}
        {{- if or .Values.caBundle.configMap .Values.caBundle.secret }}
        - name: ca-bundle
          mountPath: /etc/ca-bundle
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "image-patch.fullname" . }}
    {{- if not .Values.persistence.enabled }}
    - name: state
      emptyDir:
        sizeLimit: {{ .Values.persistence.size }}
    {{- end }}
    {{- range values .Values.registrySecrets | uniq | sortAlpha }}
    - name: registry-{{ . | trunc 54 | trimSuffix "-" }}
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
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
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
