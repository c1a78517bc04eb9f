"""The harness itself: a verifying client that verifies nothing would pass everything."""

import re
import time

import pytest

from support import (
    FakeServer,
    Memcached,
    RawClient,
    VerifyingClient,
    fixed_reply,
    half_reply,
    two_replies,
    wait_until,
)
from support.processes import parse_metrics, to_yaml


def watch(behaviour, seconds=0.3):
    with FakeServer(behaviour) as server:
        with VerifyingClient(server.port, rate=200, connections=2, set_ratio=0) as client:
            time.sleep(seconds)
            client.stop(patience=0.2)
    return client


def test_a_healthy_server_gives_no_error_and_no_mismatch():
    with Memcached() as server, VerifyingClient(server.address, rate=2000) as client:
        wait_until(lambda: client.hits > 20, what="some hits")
        client.stop()
    assert not client.errors and not client.mismatches and not client.stale, client.summary()
    assert client.answered == client.sent


def test_another_keys_value_is_a_mismatch():
    client = watch(fixed_reply(b"VALUE other 0 7\r\nother=1\r\nEND\r\n"))
    assert client.mismatches


def test_a_value_that_was_never_written_is_a_mismatch():
    def behave(peer):
        for data in peer.requests():
            for key in re.findall(rb"get (\S+)\r\n", data):
                peer.send(b"VALUE %s 0 %d\r\n%s=9\r\nEND\r\n" % (key, len(key) + 2, key))

    assert watch(behave).mismatches


def test_a_reply_too_many_is_a_mismatch():
    assert watch(two_replies(b"END\r\n")).mismatches


def test_an_error_line_a_close_and_silence_are_errors():
    def refuse(peer):
        for data in peer.requests():  # two may come at once
            peer.send(b"SERVER_ERROR out of order\r\n" * data.count(b"\n"))

    refused = watch(refuse)
    assert {e.text for e in refused.errors} == {"SERVER_ERROR out of order"}
    closed = watch(half_reply(b"END\r\n", then="close"))
    assert closed.closed and {e.text for e in closed.errors} <= {"connection closed", "no reply"}
    assert "no reply" in {e.text for e in watch(half_reply(b"END\r\n")).errors}


def test_a_raw_client_says_what_came_instead():
    with FakeServer(fixed_reply(b"ERROR\r\n")) as server, RawClient(server.port) as client:
        with pytest.raises(AssertionError, match=r"expected b'END.*\n.*got b'ERROR"):
            client.ask("get a\r\n", "END\r\n")


def test_yaml_is_in_block_style():
    text = to_yaml({"alpha": {"listen": "x:1", "redis": False, "tls": {"a": 1}, "servers": ["s"]}})
    assert text == 'alpha:\n  listen: "x:1"\n  redis: false\n  tls:\n    a: 1\n  servers:\n   - s\n'


def test_metrics_are_parsed_with_their_labels():
    text = '# HELP a b\n# TYPE a counter\na_total{pool="p",server="s 1"} 3\nb 1e3\n'
    assert parse_metrics(text) == [
        (("a_total", {"pool": "p", "server": "s 1"}), 3.0),
        (("b", {}), 1000.0),
    ]
