{{/* Names */}}
{{- define "cashew.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 40 characters leave room for "-memcached", "-dashboards" and what a StatefulSet adds. */}}
{{- define "cashew.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}{{ $name = .Values.fullnameOverride }}
{{- else if not (contains $name .Release.Name) }}{{ $name = printf "%s-%s" .Release.Name $name }}
{{- else }}{{ $name = .Release.Name }}{{ end }}
{{- $name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "cashew.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "cashew.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{/* Labels: of the proxy's pods, and of objects. */}}
{{- define "cashew.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cashew.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: proxy
{{- end }}

{{- define "cashew.memcachedLabels" -}}
app.kubernetes.io/name: {{ include "cashew.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: memcached
{{- end }}

{{/* metadata of an object: (dict "root" $ "name" … "namespace" … "component" … "labels" … "annotations" …) */}}
{{- define "cashew.metadata" -}}
{{- $root := .root -}}
name: {{ .name }}
namespace: {{ default $root.Release.Namespace .namespace }}
{{- $labels := dict
    "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
    "app.kubernetes.io/name" (include "cashew.name" $root)
    "app.kubernetes.io/instance" $root.Release.Name
    "app.kubernetes.io/version" $root.Chart.AppVersion
    "app.kubernetes.io/managed-by" $root.Release.Service
    "app.kubernetes.io/part-of" "cashew"
    "app.kubernetes.io/component" (default "proxy" .component) }}
labels:
  {{- merge (dict) (default (dict) .labels) $root.Values.commonLabels $labels | toYaml | nindent 2 }}
{{- with merge (dict) (default (dict) .annotations) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "cashew.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* Labels of the proxy's pods, besides the selector's. */}}
{{- define "cashew.podLabels" -}}
{{- merge (dict) (include "cashew.selectorLabels" . | fromYaml) .Values.podLabels .Values.commonLabels | toYaml }}
{{- end }}

{{/* A duration of the configuration file in whole seconds, rounded up. */}}
{{- define "cashew.seconds" -}}
{{- $text := toString . }}
{{- $number := regexFind "^[0-9]+" $text | atoi }}
{{- if hasSuffix "ms" $text }}{{ div (add $number 999) 1000 }}
{{- else if hasSuffix "h" $text }}{{ mul $number 3600 }}
{{- else if hasSuffix "m" $text }}{{ mul $number 60 }}
{{- else }}{{ $number }}{{ end }}
{{- end }}

{{/* What a pod needs between deletion and SIGKILL. */}}
{{- define "cashew.terminationGracePeriodSeconds" -}}
{{- $global := .Values.config.global }}
{{- $grace := include "cashew.seconds" (default "0s" $global.drain_grace) | int }}
{{- $drain := include "cashew.seconds" (default "30s" $global.drain_timeout) | int }}
{{- $needed := add (int .Values.drain.preStopSeconds) $grace $drain 10 | int }}
{{- $given := toString .Values.drain.terminationGracePeriodSeconds }}
{{- if eq $given "" }}{{ $needed }}
{{- else if lt (int $given) (int (sub $needed 10)) }}
{{- fail (printf "drain.terminationGracePeriodSeconds is %s, but preStopSeconds, drain_grace and drain_timeout take %d s together; give at least %d, or leave it empty" $given (sub $needed 10) $needed) }}
{{- else }}{{ $given }}{{ end }}
{{- end }}

{{- define "cashew.hasOwnConfig" -}}
{{- if or .Values.config.existingConfigMap .Values.config.existingSecret }}yes{{ end }}
{{- end }}

{{/* A ConfigMap shows its content to everybody who may read ConfigMaps. */}}
{{- define "cashew.configIsSecret" -}}
{{- range .Values.pools }}{{ if and . .redis_auth }}yes{{ end }}{{ end }}
{{- end }}
