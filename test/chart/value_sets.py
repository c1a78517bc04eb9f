"""Values that people may well give, each set a feature or two. What holds for every rendering is
tested with all of them."""

CERTIFICATES = {"listen": {"secretName": "proxy-tls", "clientCa": True},
                "servers": {"secretName": "cache-tls", "clientCert": True, "serverName": "cache"}}

VALUE_SETS = {
    "defaults": {},
    "memcached": {"memcached": {"enabled": True}},
    "daemonset": {"mode": "DaemonSet"},
    "hostNetwork": {"mode": "DaemonSet", "hostNetwork": True},
    "native sidecar": {"sidecar": {"native": True}},
    "pod annotations": {"sidecar": {"podAnnotations": {"enabled": True, "selector": "app=mc"}}},
    "static servers": {"pools": {"cache": {
        "endpoints": None, "servers": ["10.0.0.1:11211:1 one", "10.0.0.2:11211:1 two"]}}},
    "several pools": {"pools": {
        "cache": None,
        "sessions": {"listen": "0.0.0.0:6379", "redis": True, "hash_tag": "{}",
                     "endpoints": {"service": "redis", "port": "redis", "namespace": "data"}},
        "A_pool_with_a_long_name": {"listen": "0.0.0.0:11212", "endpoints": {"service": "hot"}},
        "old": {"listen": "0.0.0.0:22121", "hash": "murmur", "distribution": "modula",
                "timeout": 100, "servers": ["memcached.legacy.svc:11211:1"]}}},
    "password": {"pools": {"cache": {"redis": True, "redis_auth": "123456",
                                     "endpoints": {"service": "redis"}}}},
    "tls": {"pools": {"cache": {"tls": CERTIFICATES}}},
    "one secret for both sides": {"pools": {"cache": {"tls": {
        "listen": {"secretName": "tls.example.com"}, "servers": {"secretName": "tls.example.com"}}}}},
    "existing ConfigMap": {"config": {"existingConfigMap": "my-config"}},
    "existing Secret": {"config": {"existingSecret": "my-config", "existingKey": "cashew.yml"}},
    "rehash": {"endpointDefaults": {"eject_mode": "rehash"}},
    "every pool setting": {"pools": {"cache": {
        "hash": "one_at_a_time", "hash_tag": "$$", "distribution": "random", "timeout": 1000,
        "backlog": 1024, "client_connections": 10000, "redis": False, "tcpkeepalive": True,
        "reuseport": True, "preconnect": False, "auto_eject_hosts": False, "server_connections": 4,
        "server_retry_timeout": 10000, "server_failure_limit": 2, "compat": "strict",
        "eject_mode": "keep_ring", "get_errors": "error", "hold_down": "90s",
        "health_check": {"interval": "1s", "timeout": "200ms", "rise": 1, "fall": 2},
        "allow_flush": True, "allow_empty": True, "client_max_inflight": 100,
        "client_max_buffer": "16mb", "client_write_timeout": "5s",
        "hot_keys_sample": 100, "slow_log": "10ms", "access_log_sample": 1000}}},
    "every redis setting": {"pools": {"cache": {
        "redis": True, "redis_auth": "secret", "redis_user": "app", "redis_db": 1,
        "cluster_commands": True, "dangerous_commands": True, "exclusive_connections": 8,
        "endpoints": {"service": "redis"}}}},
    "every global setting": {"config": {"global": {
        "workers": "auto", "max_client_connections": 5000, "max_buffer_memory": "256mb",
        "drain_grace": "10s", "drain_timeout": "2m", "watch_config": False,
        "state_dir": "/data/state", "admin_public": True, "slow_log_size": 500}}},
    "monitoring by Service": {"metrics": {"serviceMonitor": {
        "enabled": True, "labels": {"release": "prometheus"}, "scrapeTimeout": "5s"}}},
    "alerts and dashboard": {"metrics": {
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True, "annotations": {"folder": "caches"}}}},
    "monitoring by pod": {"metrics": {"podMonitor": {"enabled": True}, "podAnnotations": True}},
    "autoscaling": {"autoscaling": {"enabled": True, "targetMemoryUtilizationPercentage": 80}},
    "network policy": {"networkPolicy": {
        "enabled": True, "clients": [{"podSelector": {"matchLabels": {"uses": "cache"}}}],
        "metrics": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"ports": [{"port": 11211, "protocol": "TCP"}]}]}, "stats": {"expose": True}},
    "placement": {
        "priorityClassName": "high", "nodeSelector": {"disk": "none"},
        "tolerations": [{"key": "cache", "operator": "Exists"}], "podAntiAffinity": "hard",
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                                       "whenUnsatisfiable": "DoNotSchedule"}]},
    "load balancer": {"service": {
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP",
        "loadBalancerSourceRanges": ["10.0.0.0/8"], "annotations": {"a.example/b": "c"}},
        "drain": {"preStopSeconds": 20}},
    "extras": {
        "commonLabels": {"team": "caches"}, "commonAnnotations": {"owner": "somebody"},
        "podLabels": {"pod": "yes"}, "podAnnotations": {"a": "b"}, "annotations": {"c": "d"},
        "env": [{"name": "A", "value": "1"}], "envFrom": [{"secretRef": {"name": "s"}}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "extraContainers": [{"name": "beside", "image": "beside:1", "securityContext": {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True}}],
        "extraObjects": ["{apiVersion: v1, kind: ConfigMap, metadata: {name: extra, "
                         "namespace: '{{ .Release.Namespace }}'}}"],
        "image": {"pullSecrets": [{"name": "registry"}], "digest": "sha256:" + "0" * 64}},
    "names": {"fullnameOverride": "a-name-of-forty-characters-is-very-long-indeed"},
}
