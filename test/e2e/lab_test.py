"""Whether the scenarios can run here at all."""

import os

import pytest


def test_scenarios_run_in_a_lab():
    if not os.environ.get("CASHEW_E2E_TIER"):
        pytest.skip("the scenarios need a control plane of their own: ./dev e2e starts one")
    assert os.access(os.environ["KUBECONFIG"], os.R_OK)
