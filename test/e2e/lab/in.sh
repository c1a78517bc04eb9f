#!/usr/bin/env bash
# Runs a command in the lab's network namespace, with kubectl and the lab's addresses at hand.
. "$(dirname "$0")/common.sh"
export LAB_CACHE LAB_DIR LAB_BIN KUBECONFIG=$LAB_DIR/admin.kubeconfig PATH=$LAB_BIN:$PATH
exec_in_lab "$@"
