#!/usr/bin/env bash
# A program of the control plane that was ended, started again as it was: restart.sh kube-apiserver
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$LAB_DIR"
eval "start $1 $(cat "$1.command")"
