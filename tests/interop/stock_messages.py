"""This module has the wire contract's messages in Google's runtime, and calls of the service with grpcio.

They are built from the descriptors, not from our generated code, so that the two are compared. `old` leaves
out the fields added to the contract since the first deployments, as old peers do.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from minicloud.wire.descriptors import descriptor_pool
from tests.interop.theirs import WAIT_S

SERVICE = "minicloud.execution.WorkerManagementService"
METHODS = ("RegisterWorker", "DeregisterWorker", "Heartbeat", "ListWorkers")

_FILES = ("google/protobuf/timestamp.proto", "minicloud/common.proto", "minicloud/execution.proto")
# The last field of those messages that have had some added.
_LAST_OLD_FIELD = {
    "WorkerInfo": 5,
    "ResourceInfo": 6,
    "RegisterWorkerRequest": 4,
    "RegisterWorkerResponse": 3,
    "DeregisterWorkerRequest": 2,
    "HeartbeatRequest": 4,
    "HeartbeatResponse": 4,
}


class Messages:
    """A `Messages` has message classes by name."""

    def __init__(self, *, old: bool = False) -> None:
        pool = DescriptorPool()
        for name in _FILES:
            file = FileDescriptorProto()
            descriptor_pool().FindFileByName(name).CopyToProto(file)
            for message in file.message_type if old else ():
                last = _LAST_OLD_FIELD.get(message.name, 2**29)
                fields = [field for field in message.field if field.number <= last]
                del message.field[:]
                message.field.extend(fields)
            pool.Add(file)
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        package = "common" if name in ("StandardResponse", "WorkerInfo", "ResourceInfo") else "execution"
        return GetMessageClass(self._pool.FindMessageTypeByName(f"minicloud.{package}.{name}"))


def call(channel: Any, messages: Messages, method: str, **fields: Any) -> Any:
    """Call the service with grpcio. Blocks."""
    request = getattr(messages, f"{method}Request")(**fields)
    return channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=getattr(messages, f"{method}Response").FromString,
    )(request, timeout=WAIT_S)
