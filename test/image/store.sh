# Sourced: an image store and container settings of this project's own; the machine's stay as they
# are. runc, because crun 1.8 refuses machines that mount both generations of control groups; the
# limits, because the usual ones cannot be set without CAP_SYS_RESOURCE. Each build of changed
# sources leaves a gigabyte of cached layers behind: `podman image prune` removes those.
CASHEW_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/cashew
mkdir -p "$CASHEW_CACHE/containers"
cat >"$CASHEW_CACHE/containers/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$CASHEW_CACHE/containers/images"
runroot = "$CASHEW_CACHE/containers/run"
END
cat >"$CASHEW_CACHE/containers/containers.conf" <<'END'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=16384:16384"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
END
export CONTAINERS_STORAGE_CONF=$CASHEW_CACHE/containers/storage.conf
export CONTAINERS_CONF=$CASHEW_CACHE/containers/containers.conf
