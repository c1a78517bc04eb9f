"""Fixtures for the tests with a real Prometheus."""

import pathlib
import subprocess
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "integration"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Expires tomorrow."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=cashew", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )
    return {"listen": {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}}
