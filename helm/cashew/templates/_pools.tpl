{{/* The pools as the chart uses them: {pools: [{name, port, portName, service, namespace, endpointPort,
     settings}]}, by name. `service` is empty unless the pool follows one. */}}
{{- define "cashew.pools" -}}
{{- $out := list }}
{{- $ports := dict }}
{{- $portNames := dict }}
{{- range $name := keys .Values.pools | sortAlpha }}
{{- $spec := index $.Values.pools $name }}
{{- if $spec }}
{{- $where := printf "pools.%s" $name }}
{{- if eq $name "global" }}
{{- fail "pools.global: no pool has this name; settings of the whole proxy go to config.global" }}
{{- end }}
{{- $port := regexFind "[0-9]+$" $spec.listen }}
{{- if has $port (list "9151" "9153" "22222") }}
{{- fail (printf "%s.listen: port %s is taken inside the pod: 9151 and 9153 are metrics, 22222 is stats" $where $port) }}
{{- end }}
{{- if hasKey $ports $port }}
{{- fail (printf "%s.listen: port %s is also that of pools.%s" $where $port (get $ports $port)) }}
{{- end }}
{{- $_ := set $ports $port $name }}
{{- $portName := printf "pool-%s" $port }}
{{- if and (regexMatch "^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$" $name) (not (contains "--" $name)) (not (has $name (list "http" "stats" "sidecar"))) }}
{{- $portName = $name }}
{{- end }}
{{- $pool := dict "name" $name "port" (int $port) "portName" $portName "service" "" "settings" (include "cashew.poolSettings" (dict "root" $ "where" $where "spec" $spec) | fromYaml) }}
{{- if $spec.endpoints }}
{{- $own := and (not $spec.endpoints.service) $.Values.memcached.enabled }}
{{- if and $own $spec.redis }}
{{- fail (printf "%s.endpoints.service is empty, so it would follow the chart's memcached, but the pool is redis; name the Service of the redis pods" $where) }}
{{- end }}
{{- $_ := set $pool "service" (default (ternary (printf "%s-memcached" (include "cashew.fullname" $)) "memcached" $own) $spec.endpoints.service) }}
{{- $_ := set $pool "namespace" (default $.Release.Namespace (ternary "" $spec.endpoints.namespace $own)) }}
{{- $_ := set $pool "endpointPort" (ternary "memcached" (default "" $spec.endpoints.port) $own) }}
{{- end }}
{{- $out = append $out $pool }}
{{- end }}
{{- end }}
{{- if not $out }}
{{- fail "pools: there is none; give at least one, such as --set pools.cache.listen=0.0.0.0:11211" }}
{{- end }}
{{- dict "pools" $out | toYaml }}
{{- end }}

{{/* A pool's keys in the configuration file. */}}
{{- define "cashew.poolSettings" -}}
{{- $root := .root }}
{{- $spec := .spec }}
{{- $settings := omit $spec "endpoints" "tls" }}
{{- if $spec.endpoints }}
{{- if $spec.servers }}
{{- fail (printf "%s has both endpoints and servers; give one of them (`endpoints: null` for a list of your own)" .where) }}
{{- end }}
{{- $defaults := deepCopy $root.Values.endpointDefaults }}
{{- if $spec.redis }}{{ $defaults = omit $defaults "get_errors" }}{{ end }}
{{- $settings = merge (dict "membership" "grpc") $settings $defaults }}
{{- if ne (default "rehash" $settings.eject_mode) "keep_ring" }}
{{- if not (hasKey $spec "hold_down") }}{{ $settings = omit $settings "hold_down" }}{{ end }}
{{- end }}
{{- else if not (or $spec.servers (include "cashew.hasOwnConfig" $root)) }}
{{- if ne (default "static" $spec.membership) "grpc" }}
{{- fail (printf "%s has neither endpoints nor servers; name a Service to follow, or list the servers" .where) }}
{{- end }}
{{- end }}
{{- with $spec.tls }}
{{- $tls := dict }}
{{- with .listen }}
{{- $dir := printf "/etc/cashew-tls/%s" .secretName }}
{{- $listen := dict "cert" (printf "%s/tls.crt" $dir) "key" (printf "%s/tls.key" $dir) }}
{{- if .clientCa }}{{ $_ := set $listen "client_ca" (printf "%s/ca.crt" $dir) }}{{ end }}
{{- $_ := set $tls "listen" $listen }}
{{- end }}
{{- with .servers }}
{{- $servers := dict }}
{{- if .secretName }}
{{- $dir := printf "/etc/cashew-tls/%s" .secretName }}
{{- $_ := set $servers "ca" (printf "%s/ca.crt" $dir) }}
{{- if .clientCert }}
{{- $_ := set $servers "cert" (printf "%s/tls.crt" $dir) }}
{{- $_ := set $servers "key" (printf "%s/tls.key" $dir) }}
{{- end }}
{{- end }}
{{- with .serverName }}{{ $_ := set $servers "server_name" . }}{{ end }}
{{- $_ := set $tls "servers" $servers }}
{{- end }}
{{- $_ := set $settings "tls" $tls }}
{{- end }}
{{- $settings | toYaml }}
{{- end }}

{{/* The configuration file. */}}
{{- define "cashew.config" -}}
{{- $global := merge (dict "admin" "0.0.0.0:9151" "grpc" "unix:/run/cashew/grpc.sock") (deepCopy .Values.config.global) -}}
# From the chart's values; change those, not this.
{{ dict "global" $global | toYaml }}
{{- range (include "cashew.pools" . | fromYaml).pools }}
{{ dict .name .settings | toYaml }}
{{- end }}
{{ end }}

{{/* yes, when a pool follows a Service: then there is a sidecar with a token. */}}
{{- define "cashew.follows" -}}
{{- range (include "cashew.pools" . | fromYaml).pools }}{{ if .service }}yes{{ end }}{{ end }}
{{- end }}

{{/* Namespaces whose EndpointSlices are read: {namespaces: […]} */}}
{{- define "cashew.namespaces" -}}
{{- $out := list }}
{{- range (include "cashew.pools" . | fromYaml).pools }}{{ if .service }}{{ $out = append $out .namespace }}{{ end }}{{ end }}
{{- dict "namespaces" ($out | uniq | sortAlpha) | toYaml }}
{{- end }}

{{/* Secrets with certificates: {secrets: […]} */}}
{{- define "cashew.tlsSecrets" -}}
{{- $out := list }}
{{- range .Values.pools }}
{{- if . }}
{{- with .tls }}
{{- range list .listen .servers }}{{ if and . .secretName }}{{ $out = append $out .secretName }}{{ end }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- dict "secrets" ($out | uniq | sortAlpha) | toYaml }}
{{- end }}
