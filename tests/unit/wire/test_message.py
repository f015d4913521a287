"""The codec under the generated messages agrees with betterproto2's own, which has the same wire format
(DESIGN 3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import BytesIO

import betterproto2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicloud.wire.gen.grpc.health.v1 import HealthCheckResponse, HealthListResponse
from minicloud.wire.gen.grpc.health.v1 import HealthCheckResponseServingStatus as ServingStatus
from minicloud.wire.gen.minicloud.common import ResourceInfo, StandardResponse, WorkerInfo, WorkerStatus
from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    DeregisterWorkerResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
)
from minicloud.wire.message import Message

MESSAGES = [
    DeregisterWorkerRequest,
    DeregisterWorkerResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
]

texts = st.text(st.characters(codec="utf-8"), max_size=20)
maps = st.dictionaries(texts, texts, max_size=3)
int32s = st.integers(-(2**31), 2**31 - 1)
int64s = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False)
moments = st.datetimes(timezones=st.just(UTC))
statuses = st.sampled_from(WorkerStatus)
resources = st.builds(
    ResourceInfo, int32s, int64s, int64s, int32s, floats, floats, memory_used_mb=int64s, disk_used_mb=int64s
)
heartbeats = st.builds(
    HeartbeatRequest, texts, st.none() | resources, st.none() | moments, maps, int64s, int64s
)
workers = st.builds(
    WorkerInfo, texts, texts, statuses, st.none() | resources, st.none() | moments, maps, incarnation=int64s
)
lists = st.builds(ListWorkersResponse, st.lists(workers, max_size=3), texts)
filters = st.builds(ListWorkersRequest, st.none() | statuses, int32s, texts)
messages = st.one_of(resources, heartbeats, workers, lists, filters)


def by_betterproto(cls: type[Message], data: bytes) -> betterproto2.Message:
    return cls().load(BytesIO(data))


@given(messages)
def test_messages_survive_the_wire_and_read_the_same_to_the_other_codec(message: Message) -> None:
    data = bytes(message)
    assert type(message).FromString(data) == message
    assert by_betterproto(type(message), data) == message


@given(st.sampled_from(MESSAGES), st.binary(max_size=60))
def test_arbitrary_bytes_are_a_well_typed_message_or_a_value_error(cls: type[Message], data: bytes) -> None:
    try:
        message = cls.FromString(data)
    except ValueError:
        return
    # It can be written, and reads the same again, which nothing ill-typed could.
    assert cls.FromString(bytes(message)) == message


@pytest.mark.parametrize(
    "data",
    [b"\x0f\x01", b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x0a", b"\x12\x03\x08"],
    ids=["wire type 7", "string cut short", "not UTF-8", "no length", "submessage cut short"],
)
def test_malformed_bytes_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a HeartbeatRequest message"):
        HeartbeatRequest.FromString(data)


def test_field_of_another_wire_type_is_an_unknown_field() -> None:
    assert HeartbeatRequest.FromString(b"\x08\x01") == HeartbeatRequest()  # 1, worker_id, as a varint


def test_unknown_fields_are_passed_over() -> None:
    data = bytes(HeartbeatRequest(worker_id="w")) + b"\xf8\x07\x2a"  # field 127, varint
    assert HeartbeatRequest.FromString(data) == HeartbeatRequest(worker_id="w")


def test_absent_status_filter_differs_from_healthy() -> None:
    assert ListWorkersRequest.FromString(b"").status_filter is None
    healthy = ListWorkersRequest(status_filter=WorkerStatus.HEALTHY)
    assert ListWorkersRequest.FromString(bytes(healthy)).status_filter is WorkerStatus.HEALTHY


def test_unknown_enum_number_stays_that_number() -> None:
    message = ListWorkersRequest.FromString(b"\x08\x63")
    assert isinstance(message.status_filter, WorkerStatus)
    assert message.status_filter == 99


def test_timestamp_keeps_its_microseconds_before_and_after_1970() -> None:
    for moment in (
        datetime(2026, 7, 1, 12, 0, 0, 123_457, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC) + timedelta(hours=23),
    ):
        message = StandardResponse(timestamp=moment)
        assert StandardResponse.FromString(bytes(message)).timestamp == moment


def test_timestamp_no_calendar_has_is_a_value_error() -> None:
    beyond = b"\x1a\x09\x08\xff\xff\xff\xff\xff\xff\xff\x7f"  # seconds = 2^56 - 1
    with pytest.raises(ValueError, match="not a StandardResponse message"):
        StandardResponse.FromString(beyond)


def test_value_of_a_wrong_type_cannot_be_sent() -> None:
    with pytest.raises((TypeError, ValueError)):
        bytes(DeregisterWorkerRequest(worker_id=7))  # type: ignore[arg-type]


def test_codec_map_of_messages_comes_back_and_betterproto_reads_the_same() -> None:
    sent = HealthListResponse({"": HealthCheckResponse(ServingStatus.SERVING), "a": HealthCheckResponse()})
    assert HealthListResponse.parse(bytes(sent)) == sent
    assert by_betterproto(HealthListResponse, bytes(sent)) == sent
