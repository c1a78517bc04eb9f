"""What the tests that start processes share.

Real programs: Memcached, Redis, Proxy (Cashew, or whatever CASHEW_BIN names) and Nutcracker.
Clients: RawClient, which shows every byte, and VerifyingClient, which keeps a steady
rate and records each error and each value that is not its own. Servers that misbehave
on purpose: FakeServer and the behaviours beside it.

The package needs nothing but the standard library, so that the demo and the
benchmark use it too.
"""

from .fake_server import (
    FakeServer,
    Peer,
    closes,
    early_reply,
    fixed_reply,
    garbage,
    half_reply,
    silent,
    slow_reply,
    two_replies,
)
from .net import HOST, RawClient, free_port, seldom_used_port, wait_until
from .processes import Failed, Memcached, Nutcracker, Proxy, memcached_servers
from .redis import Redis, RedisError, RespClient, decode, encode
from .verifying_client import VerifyingClient

__all__ = [
    "HOST",
    "Failed",
    "FakeServer",
    "Memcached",
    "Nutcracker",
    "Peer",
    "Proxy",
    "RawClient",
    "Redis",
    "RedisError",
    "RespClient",
    "VerifyingClient",
    "closes",
    "decode",
    "early_reply",
    "encode",
    "fixed_reply",
    "free_port",
    "garbage",
    "half_reply",
    "memcached_servers",
    "seldom_used_port",
    "silent",
    "slow_reply",
    "two_replies",
    "wait_until",
]
