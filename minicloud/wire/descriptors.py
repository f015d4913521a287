"""This module has the descriptors of the generated messages and services, in protobuf's own runtime."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool


@cache
def descriptor_pool() -> DescriptorPool:
    """Return every generated file in a pool of its own, where names cannot collide with another library's."""
    pool = DescriptorPool()
    serialized = (files("minicloud.wire") / "gen" / "descriptors.binpb").read_bytes()
    for file in FileDescriptorSet.FromString(serialized).file:
        pool.Add(file)
    return pool
