{{/* The pod of Deployment and DaemonSet. */}}
{{- define "cashew.podTemplate" -}}
{{- $fullname := include "cashew.fullname" . -}}
metadata:
  labels:
    {{- include "cashew.podLabels" . | nindent 4 }}
  {{- $annotations := deepCopy (merge (dict) .Values.podAnnotations .Values.commonAnnotations) }}
  {{- if .Values.metrics.podAnnotations }}
  {{- $annotations = merge $annotations (dict "prometheus.io/scrape" "true" "prometheus.io/port" "9151" "prometheus.io/path" "/metrics") }}
  {{- end }}
  {{- if and .Values.config.restartOnChange (not (include "cashew.hasOwnConfig" .)) }}
  {{- $annotations = merge $annotations (dict "checksum/config" (include "cashew.config" . | sha256sum)) }}
  {{- end }}
  {{- $annotations = merge $annotations (dict "kubectl.kubernetes.io/default-container" "cashew") }}
  annotations:
    {{- toYaml $annotations | nindent 4 }}
spec:
  serviceAccountName: {{ include "cashew.serviceAccountName" . }}
  # Only the sidecar gets a token.
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "cashew.terminationGracePeriodSeconds" . }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- with default (ternary "ClusterFirstWithHostNet" "" .Values.hostNetwork) .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- include "cashew.placement" . | trim | nindent 2 }}
  {{- $native := and .Values.sidecar.native (include "cashew.follows" .) }}
  {{- if or $native .Values.extraInitContainers }}
  initContainers:
    {{- with .Values.extraInitContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if $native }}
    - {{ include "cashew.sidecarContainer" . | nindent 6 | trim }}
      restartPolicy: Always
    {{- end }}
  {{- end }}
  containers:
    - {{ include "cashew.proxyContainer" . | nindent 6 | trim }}
    {{- if and (include "cashew.follows" .) (not .Values.sidecar.native) }}
    - {{ include "cashew.sidecarContainer" . | nindent 6 | trim }}
    {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      {{- if .Values.config.existingSecret }}
      secret:
        secretName: {{ .Values.config.existingSecret }}
        defaultMode: 0440
      {{- else if and (include "cashew.configIsSecret" .) (not .Values.config.existingConfigMap) }}
      secret:
        secretName: {{ $fullname }}
        defaultMode: 0440
      {{- else }}
      configMap:
        name: {{ default $fullname .Values.config.existingConfigMap }}
      {{- end }}
    # The gRPC socket that proxy and sidecar share.
    - name: run
      emptyDir: {medium: Memory, sizeLimit: 1Mi}
    # The last good server list, for a proxy that is restarted.
    - name: state
      emptyDir: {sizeLimit: 64Mi}
    {{- if include "cashew.follows" . }}
    - name: token
      projected:
        defaultMode: 0440
        sources:
          - serviceAccountToken: {path: token, expirationSeconds: 3600}
          - configMap:
              name: kube-root-ca.crt
              items: [{key: ca.crt, path: ca.crt}]
          - downwardAPI:
              items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
    {{- end }}
    {{- range (include "cashew.tlsSecrets" . | fromYaml).secrets }}
    - name: tls-{{ . | replace "." "-" | trunc 59 | trimSuffix "-" }}
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "cashew.proxyContainer" -}}
name: cashew
image: {{ include "cashew.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [cashew]
args:
  - --conf-file=/etc/cashew/{{ .Values.config.existingKey }}
  - --stats-addr={{ ternary "0.0.0.0" "127.0.0.1" .Values.stats.expose }}
  - --verbose={{ .Values.verbosity }}
  {{- if ne .Values.logFormat "text" }}
  - --log-format={{ .Values.logFormat }}
  {{- end }}
{{- with .Values.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- range (include "cashew.pools" . | fromYaml).pools }}
  - {name: {{ .portName }}, containerPort: {{ .port }}, protocol: TCP}
  {{- end }}
  - {name: http, containerPort: 9151, protocol: TCP}
  {{- if .Values.stats.expose }}
  - {name: stats, containerPort: 22222, protocol: TCP}
  {{- end }}
{{- with .Values.probes.startup }}
startupProbe:
  httpGet: {path: /livez, port: http}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.probes.readiness }}
readinessProbe:
  httpGet: {path: /readyz, port: http}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.probes.liveness }}
livenessProbe:
  httpGet: {path: /livez, port: http}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.drain.preStopSeconds }}
lifecycle:
  preStop:
    exec: {command: [sleep, {{ .Values.drain.preStopSeconds | quote }}]}
{{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  # Whole folders: a file mounted by subPath would never change.
  - {name: config, mountPath: /etc/cashew, readOnly: true}
  - {name: run, mountPath: /run/cashew}
  # A volume is open to its group; state_dir must not be, so the proxy makes a folder in it.
  - {name: state, mountPath: {{ dir (default "/var/lib/cashew/state" .Values.config.global.state_dir) }}}
  {{- range (include "cashew.tlsSecrets" . | fromYaml).secrets }}
  - {name: tls-{{ . | replace "." "-" | trunc 59 | trimSuffix "-" }}, mountPath: /etc/cashew-tls/{{ . }}, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* No readiness probe: while the API server is away the proxy serves on by the last good list. */}}
{{- define "cashew.sidecarContainer" -}}
name: sidecar
image: {{ include "cashew.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [cashew-sidecar]
args:
  - --grpc=unix:/run/cashew/grpc.sock
  - --listen=0.0.0.0:9153
  {{- range (include "cashew.pools" . | fromYaml).pools }}
  {{- if .service }}
  - --pool={{ .name }}={{ if ne .namespace $.Release.Namespace }}{{ .namespace }}/{{ end }}{{ .service }}{{ with .endpointPort }}:{{ . }}{{ end }}
  {{- end }}
  {{- end }}
  {{- if ne .Values.logFormat "text" }}
  - --log-format={{ .Values.logFormat }}
  {{- end }}
  {{- with .Values.sidecar.podAnnotations }}
  {{- if .enabled }}
  - --pod-annotations
  {{- with .selector }}
  - {{ printf "--pod-selector=%s" . | quote }}
  {{- end }}
  {{- end }}
  {{- end }}
  {{- with .Values.sidecar.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.sidecar.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - {name: sidecar, containerPort: 9153, protocol: TCP}
livenessProbe:
  httpGet: {path: /livez, port: sidecar}
  periodSeconds: 10
  failureThreshold: 6
  timeoutSeconds: 5
{{- with .Values.sidecar.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: run, mountPath: /run/cashew}
  - {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{- define "cashew.placement" -}}
{{- $selector := dict "matchLabels" (include "cashew.selectorLabels" . | fromYaml) }}
{{- if .Values.affinity }}
affinity:
  {{- toYaml .Values.affinity | nindent 2 }}
{{- else if and .Values.podAntiAffinity (eq .Values.mode "Deployment") }}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" $selector }}
affinity:
  podAntiAffinity:
    {{- if eq .Values.podAntiAffinity "hard" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      {{- toYaml (list $term) | nindent 6 }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      {{- toYaml (list (dict "weight" 100 "podAffinityTerm" $term)) | nindent 6 }}
    {{- end }}
{{- end }}
{{- if eq .Values.mode "Deployment" }}
{{- $zones := dict "maxSkew" 1 "topologyKey" "topology.kubernetes.io/zone" "whenUnsatisfiable" "ScheduleAnyway" }}
topologySpreadConstraints:
  {{- range default (list $zones) .Values.topologySpreadConstraints }}
  - {{ merge (deepCopy .) (dict "labelSelector" $selector) | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- end }}
