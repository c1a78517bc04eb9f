"""The proxy's gRPC services as a Python user reaches them, for the tests.

    client = grpc_client.Client("unix:/run/cashew/grpc.sock")
    client.list_services()                       # by reflection
    client.get_pool("alpha").servers[0].healthy
    client.set_servers("alpha", ["10.0.0.1:11211", {"name": "b", "address": "10.0.0.2:11211"}])
    with client.stream("sidecar-a") as stream:
        ack = stream.update("alpha", ["10.0.0.1:11211"])
    for change in client.watch("alpha", timeout=5):
        ...

Needs Debian's python3-grpcio and protobuf-compiler. The message classes come from proto/,
compiled when this module is imported; the services need no generated code. Errors are
grpc.RpcError: its code() and details(), and violations(error) for what a bad request says of
its fields.
"""

import atexit
import importlib
import itertools
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROTOS = ["cashew/membership/v1/membership.proto", "cashew/admin/v1/admin.proto"]
MEMBERSHIP = "cashew.membership.v1.MembershipService"
ADMIN = "cashew.admin.v1.AdminService"
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
TIMEOUT_S = 20


def _compile(protos):
    """The Python modules of our .proto files, made in a folder that goes away at exit."""
    folder = tempfile.mkdtemp(prefix="cashew-proto-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", *protos],
                   check=True)
    sys.path.insert(0, folder)
    try:
        return [importlib.import_module(p.removesuffix(".proto").replace("/", ".") + "_pb2")
                for p in protos]
    finally:
        sys.path.remove(folder)


membership_pb2, admin_pb2 = _compile(PROTOS)


def _messages(package, tables):
    """Message classes for services whose .proto no Debian package has. A table names a
    message's fields as (name, number, type); a type is a scalar's or a message's name."""
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": field.TYPE_STRING, "bytes": field.TYPE_BYTES, "int32": field.TYPE_INT32}
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.tests.proto", package=package, syntax="proto3")
    for name, fields in tables.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            repeated = kind.startswith("repeated ")
            kind = kind.removeprefix("repeated ")
            entry = message.field.add(
                name=field_name, number=number,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
                type=scalars.get(kind, field.TYPE_MESSAGE))
            if kind not in scalars:
                entry.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.MessageFactory(pool).GetPrototype(
        pool.FindMessageTypeByName(f"{package}.{name}")) for name in tables}


# Numbers as in grpc's reflection.proto; its oneofs read the same on the wire.
_REFLECTION = _messages("grpc.reflection.v1alpha", {
    "ServerReflectionRequest": [("file_containing_symbol", 4, "string"),
                                ("list_services", 7, "string")],
    "ServerReflectionResponse": [("file_descriptor_response", 4, "FileDescriptorResponse"),
                                 ("list_services_response", 6, "ListServiceResponse"),
                                 ("error_response", 7, "ErrorResponse")],
    "FileDescriptorResponse": [("file_descriptor_proto", 1, "repeated bytes")],
    "ListServiceResponse": [("service", 1, "repeated ServiceResponse")],
    "ServiceResponse": [("name", 1, "string")],
    "ErrorResponse": [("error_code", 1, "int32"), ("error_message", 2, "string")],
})

# The status is an enum there, which is an int32 on the wire.
_HEALTH = _messages("grpc.health.v1", {
    "HealthCheckRequest": [("service", 1, "string")],
    "HealthCheckResponse": [("status", 1, "int32")],
})
_HEALTH_WORDS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}

_RPC = _messages("google.rpc", {
    "Status": [("code", 1, "int32"), ("message", 2, "string"), ("details", 3, "repeated Any")],
    "Any": [("type_url", 1, "string"), ("value", 2, "bytes")],
    "BadRequest": [("field_violations", 1, "repeated FieldViolation")],
    "FieldViolation": [("field", 1, "string"), ("description", 2, "string")],
})


def violations(error):
    """What a grpc.RpcError says of the request's fields: a list of (field, description)."""
    found = []
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in _RPC["Status"].FromString(value).details:
            if detail.type_url.endswith("/google.rpc.BadRequest"):
                bad = _RPC["BadRequest"].FromString(detail.value)
                found += [(v.field, v.description) for v in bad.field_violations]
    return found


def server(spec):
    """A Server message from one, from a dict of its fields, or from "host:port" (which is then
    its name too)."""
    if isinstance(spec, membership_pb2.Server):
        return spec
    if isinstance(spec, str):
        spec = {"name": spec, "address": spec}
    return membership_pb2.Server(**spec)


class Client:
    """One connection. `tls` is a grpc.ChannelCredentials; None speaks plain text."""

    def __init__(self, target, tls=None, options=()):
        # Without the pool of subchannels each client has a connection of its own.
        options = [("grpc.use_local_subchannel_pool", 1), *options]
        self.channel = (grpc.insecure_channel(target, options) if tls is None
                        else grpc.secure_channel(target, tls, options))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.channel.close()

    def _unary(self, service, method, request, response_type, timeout=TIMEOUT_S):
        call = self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_type.FromString)
        return call(request, timeout=timeout)

    # ---- MembershipService -------------------------------------------------------------

    def _membership(self, method, **fields):
        return self._unary(MEMBERSHIP, method,
                           getattr(membership_pb2, method + "Request")(**fields),
                           getattr(membership_pb2, method + "Response"))

    def list_pools(self):
        return list(self._membership("ListPools").pools)

    def get_pool(self, pool):
        return self._membership("GetPool", pool=pool).pool

    def set_servers(self, pool, servers, **fields):
        """Fields: expected_version, dry_run, take_over."""
        return self._membership("SetServers", pool=pool, servers=[server(s) for s in servers],
                                **fields)

    def stream(self, updater, timeout=None):
        return Stream(self.channel, updater, timeout)

    def watch(self, pool, timeout=TIMEOUT_S):
        """The WatchPool call: iterate over it for messages, cancel() it to end it."""
        call = self.channel.unary_stream(
            f"/{MEMBERSHIP}/WatchPool",
            request_serializer=membership_pb2.WatchPoolRequest.SerializeToString,
            response_deserializer=membership_pb2.WatchPoolResponse.FromString)
        return call(membership_pb2.WatchPoolRequest(pool=pool), timeout=timeout)

    # ---- AdminService ------------------------------------------------------------------

    def admin(self, method, timeout=TIMEOUT_S, **fields):
        """Any method of AdminService: admin("Locate", pool="alpha", key=b"k").server"""
        return self._unary(ADMIN, method, getattr(admin_pb2, method + "Request")(**fields),
                           getattr(admin_pb2, method + "Response"), timeout)

    # ---- the services of gRPC itself ---------------------------------------------------

    def health(self, service=""):
        """"SERVING" or "NOT_SERVING"; NOT_FOUND is raised for a name it never heard of."""
        answer = self._unary(HEALTH, "Check", _HEALTH["HealthCheckRequest"](service=service),
                             _HEALTH["HealthCheckResponse"])
        return _HEALTH_WORDS[answer.status]

    def _reflect(self, **fields):
        call = self.channel.stream_stream(
            f"/{REFLECTION}/ServerReflectionInfo",
            request_serializer=_REFLECTION["ServerReflectionRequest"].SerializeToString,
            response_deserializer=_REFLECTION["ServerReflectionResponse"].FromString)
        request = _REFLECTION["ServerReflectionRequest"](**fields)
        answer = next(call(iter([request]), timeout=TIMEOUT_S))
        if answer.HasField("error_response"):
            raise LookupError(answer.error_response.error_message)
        return answer

    def list_services(self):
        return sorted(s.name for s in self._reflect(list_services="*")
                      .list_services_response.service)

    def describe(self, symbol):
        """The FileDescriptorProto in which the server says that the symbol is defined."""
        answer = self._reflect(file_containing_symbol=symbol).file_descriptor_response
        return descriptor_pb2.FileDescriptorProto.FromString(answer.file_descriptor_proto[0])


class Stream:
    """A sidecar's StreamServers call."""

    def __init__(self, channel, updater, timeout=None):
        self.updater = updater
        self._nonces = itertools.count(1)
        self._requests = queue.SimpleQueue()  # None: no more
        call = channel.stream_stream(
            f"/{MEMBERSHIP}/StreamServers",
            request_serializer=membership_pb2.StreamServersRequest.SerializeToString,
            response_deserializer=membership_pb2.StreamServersResponse.FromString)
        self.call = call(iter(self._requests.get, None), timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.cancel()

    def send(self, pool, servers, **fields):
        """Sends a list and does not wait; returns its nonce. Fields: source_version, updater,
        nonce."""
        fields.setdefault("nonce", next(self._nonces))
        fields.setdefault("updater", self.updater)
        self._requests.put(membership_pb2.StreamServersRequest(
            pool=pool, servers=[server(s) for s in servers], **fields))
        return fields["nonce"]

    def receive(self):
        """The next response. Raises grpc.RpcError when the stream ended with an error, and
        StopIteration when it ended well."""
        return next(self.call)

    def update(self, pool, servers, **fields):
        """Sends a list and returns the response to it."""
        nonce = self.send(pool, servers, **fields)
        response = self.receive()
        assert response.nonce == nonce, (response.nonce, nonce)
        return response

    def close(self):
        """Says that no more comes, as a sidecar that stops; responses that are due still come."""
        self._requests.put(None)

    def cancel(self):
        self._requests.put(None)
        self.call.cancel()
