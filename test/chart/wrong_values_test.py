"""Values that are wrong: helm refuses each, and says where and what."""

import os
import sys

import pytest
import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import charts  # noqa: E402
from charts import refusal  # noqa: E402

charts.helm_binary()

# A file, and what the message must contain.
WRONG = [
    ("mode: Daemonset", ["mode", "Deployment", "DaemonSet"]),
    ("sidecar: {podAnnotations: true}", ["sidecar.podAnnotations", "object", "boolean"]),
    ("replicas: two", ["replicas", "integer", "string"]),
    ("replicas: -1", ["replicas", "greater than or equal to 0"]),
    ("replicaCount: 3", ["replicaCount", "not allowed"]),
    ("image: {tag: 1.0}", ["image.tag", "string"]),
    ("image: {digest: latest}", ["image.digest", "sha256"]),
    ("image: {pullPolicy: always}", ["image.pullPolicy", "Always", "IfNotPresent"]),
    ("pools: {cache: {listen: 11211}}", ["pools.cache.listen", "string"]),
    ("pools: {cache: {listen: 0.0.0.0}}", ["pools.cache.listen", "pattern"]),
    ("pools: {cache: {listen: /run/cache.sock}}", ["pools.cache.listen", "pattern"]),
    ("pools: {other: {endpoints: {service: mc}}}", ["pools.other", "listen is required"]),
    ("pools: {cache: {hash: fnv1a}}", ["pools.cache.hash", "fnv1a_64", "murmur"]),
    ("pools: {cache: {hahs: md5}}", ["pools.cache", "hahs", "not allowed"]),
    ("pools: {cache: {distribution: consistent}}", ["pools.cache.distribution", "ketama"]),
    ("pools: {cache: {timeout: 400ms}}", ["pools.cache.timeout", "integer", "string"]),
    ("pools: {cache: {hold_down: 60}}", ["pools.cache.hold_down", "string"]),
    ("pools: {cache: {hold_down: 1.5s}}", ["pools.cache.hold_down", "pattern"]),
    ("pools: {cache: {hash_tag: '{'}}", ["pools.cache.hash_tag", "pattern"]),
    ("pools: {cache: {server_connections: 0}}",
     ["pools.cache.server_connections", "greater than or equal to 1"]),
    ("pools: {cache: {client_max_buffer: 16777216}}",
     ["pools.cache.client_max_buffer", "string", "integer"]),
    ("pools: {cache: {client_max_buffer: '16777216'}}",
     ["pools.cache.client_max_buffer", "pattern"]),
    ("endpointDefaults: {client_max_buffer: 16MB}",
     ["endpointDefaults.client_max_buffer", "pattern"]),
    ("pools: {cache: {eject_mode: keepring}}", ["pools.cache.eject_mode", "keep_ring"]),
    ("pools: {cache: {endpoints: {service: Memcached_1}}}",
     ["pools.cache.endpoints.service", "pattern"]),
    ("pools: {cache: {endpoints: {svc: memcached}}}", ["pools.cache.endpoints", "svc", "not allowed"]),
    ("pools: {cache: {endpoints: null, servers: ['10.0.0.1']}}", ["pools.cache.servers", "pattern"]),
    ("pools: {cache: {tls: {listen: {cert: /etc/tls.crt}}}}",
     ["pools.cache.tls.listen", "secretName is required"]),
    ("config: {global: {drain_timeout: 30}}", ["config.global.drain_timeout", "string"]),
    ("config: {global: {max_buffer_memory: 268435456}}",
     ["config.global.max_buffer_memory", "string", "integer"]),
    ("config: {global: {max_buffer_memory: '268435456'}}",
     ["config.global.max_buffer_memory", "pattern"]),
    ("config: {global: {grpc: 127.0.0.1:9152}}", ["config.global", "grpc", "not allowed"]),
    ("config: {global: {admin: 0.0.0.0:8080}}", ["config.global.admin", "9151"]),
    ("service: {type: ExternalName}", ["service.type", "LoadBalancer"]),
    ("service: {annotations: {a: true}}", ["service.annotations.a", "string", "boolean"]),
    ("podAntiAffinity: required", ["podAntiAffinity", "hard"]),
    ("tolerations: {key: cache}", ["tolerations", "array", "object"]),
    ("resources: {limit: {memory: 1Gi}}", ["resources", "limit", "not allowed"]),
    ("metrics: {serviceMonitor: {enabled: true, interval: 15}}",
     ["metrics.serviceMonitor.interval", "string"]),
    ("metrics: {serviceMonitor: {enabled: true, interval: 15x}}",
     ["metrics.serviceMonitor.interval", "pattern"]),
    ("metrics: {prometheusRule: {thresholds: {errors: 1}}}", ["thresholds", "errors", "not allowed"]),
    ("podDisruptionBudget: {maxUnavailable: half}", ["podDisruptionBudget.maxUnavailable", "pattern"]),
    ("memcached: {enabled: 'yes'}", ["memcached.enabled", "boolean", "string"]),
    ("memcached: {memoryMiB: 64Mi}", ["memcached.memoryMiB", "integer"]),
    ("verbosity: 12", ["verbosity", "less than or equal to 11"]),
    ("logFormat: xml", ["logFormat", "must be one of", "json"]),

    # What a schema cannot say, the templates do.
    ("pools: {global: {listen: '0.0.0.0:1'}}", ["pools.global", "config.global"]),
    ("pools: {cache: null}", ["pools", "at least one"]),
    ("pools: {cache: {listen: '0.0.0.0:9151'}}", ["pools.cache.listen", "9151 is taken"]),
    ("pools: {more: {listen: '0.0.0.0:11211', servers: ['a:1:1']}}",
     ["pools.more.listen", "also that of pools.cache"]),
    ("pools: {cache: {servers: ['10.0.0.1:11211:1']}}",
     ["pools.cache", "both endpoints and servers", "endpoints: null"]),
    ("pools: {cache: {endpoints: null}}", ["pools.cache", "neither endpoints nor servers"]),
    ("{memcached: {enabled: true}, pools: {cache: {redis: true}}}",
     ["pools.cache.endpoints.service", "redis pods"]),
    ("{mode: DaemonSet, autoscaling: {enabled: true}}", ["autoscaling.enabled", "mode: Deployment"]),
    ("autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 3}",
     ["autoscaling", "minReplicas 5 is above maxReplicas 3"]),
    ("hostNetwork: true", ["hostNetwork", "mode: DaemonSet"]),
    ("config: {existingConfigMap: a, existingSecret: b}",
     ["existingConfigMap", "existingSecret", "give one of them"]),
    ("metrics: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}",
     ["serviceMonitor", "podMonitor", "enable one of them"]),
]


@pytest.mark.parametrize("text, words", WRONG, ids=[text for text, _ in WRONG])
def test_wrong_values_are_refused_with_their_place(text, words):
    message = refusal(yaml.safe_load(text))
    assert "nil pointer" not in message and "error calling" not in message.replace(
        "error calling fail", "").replace("error calling include", ""), message
    missing = [word for word in words if word.lower() not in message.lower()]
    assert not missing, message
