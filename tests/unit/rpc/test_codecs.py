"""Status, timeout, metadata, message and details are encoded and decoded."""

from __future__ import annotations

import gzip

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.const import Status
from hypothesis import given, settings
from hypothesis import strategies as st

from minicloud.http2.config import Http2Limits, Timeouts
from minicloud.http2.errors import ErrorCode
from minicloud.rpc import metadata
from minicloud.rpc.config import ChannelConfig, ServerLimits
from minicloud.rpc.framing import GZIP, Deframer, FramingError, MessageTooLargeError, frame, inflate
from minicloud.rpc.status import status_of_http, status_of_reset, status_of_trailer
from minicloud.rpc.status_details import encode_details
from minicloud.rpc.timeouts import Deadline, decode_timeout, encode_timeout
from tests.unit.http2.raw_frames import REQUEST_HEADERS

# Status


@pytest.mark.parametrize(
    ("http", "status"),
    [
        ("400", Status.INTERNAL),
        ("401", Status.UNAUTHENTICATED),
        ("403", Status.PERMISSION_DENIED),
        ("404", Status.UNIMPLEMENTED),
        ("429", Status.UNAVAILABLE),
        ("502", Status.UNAVAILABLE),
        ("503", Status.UNAVAILABLE),
        ("504", Status.UNAVAILABLE),
        ("200", Status.UNKNOWN),
        ("418", Status.UNKNOWN),
        ("", Status.UNKNOWN),
    ],
)
def test_http_status_maps_as_grpc_documents(http: str, status: Status) -> None:
    assert status_of_http(http) is status


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.NO_ERROR, Status.INTERNAL),
        (ErrorCode.PROTOCOL_ERROR, Status.INTERNAL),
        (ErrorCode.INTERNAL_ERROR, Status.INTERNAL),
        (ErrorCode.REFUSED_STREAM, Status.UNAVAILABLE),
        (ErrorCode.CANCEL, Status.CANCELLED),
        (ErrorCode.ENHANCE_YOUR_CALM, Status.RESOURCE_EXHAUSTED),
        (ErrorCode.INADEQUATE_SECURITY, Status.PERMISSION_DENIED),
        (0xFFFF, Status.INTERNAL),
    ],
)
def test_reset_code_maps_as_grpc_documents(code: int, status: Status) -> None:
    assert status_of_reset(code) is status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("0", Status.OK),
        ("16", Status.UNAUTHENTICATED),
        ("17", Status.UNKNOWN),
        ("x", Status.UNKNOWN),
        ("", Status.UNKNOWN),
    ],
)
def test_trailer_status_unknown_to_us_is_unknown(text: str, status: Status) -> None:
    assert status_of_trailer(text) is status


# Timeouts


@pytest.mark.parametrize(
    ("timeout_s", "text"),
    [
        (-1, "0n"),
        (0, "0n"),
        (1e-9, "1n"),
        (0.05, "50000000n"),
        (0.5, "500000u"),
        (1, "1000000u"),
        (10.9, "10900000u"),
        (100, "100000m"),
        (100_000, "100000S"),
        (1e9, "16666667M"),
        (1e15, "99999999H"),
    ],
)
def test_timeout_is_encoded_in_the_finest_unit_of_eight_digits(timeout_s: float, text: str) -> None:
    assert encode_timeout(timeout_s) == text


@settings(deadline=None)
@given(st.floats(min_value=1e-9, max_value=3e11))
def test_timeout_encoded_and_decoded_is_not_shorter(timeout_s: float) -> None:
    decoded = decode_timeout(encode_timeout(timeout_s))
    assert timeout_s * (1 - 1e-12) <= decoded <= max(timeout_s * 1.00001, timeout_s + 2e-9)


@pytest.mark.parametrize("text", ["", "1", "S", "1s", "-1S", "1.5S", "123456789S", " 1S", "1S ", "١S", "1SS"])
def test_timeout_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="grpc-timeout"):
        decode_timeout(text)


async def test_deadline_counts_down_on_trios_clock(autojump_clock: object) -> None:
    import trio

    deadline = Deadline.from_timeout(5)
    await trio.sleep(3)
    assert deadline.time_remaining() == 2
    await trio.sleep(3)
    assert deadline.time_remaining() == 0


# Metadata

_KEYS = st.from_regex(r"[a-z0-9_.-]{1,10}", fullmatch=True).filter(
    lambda key: not key.startswith("grpc-") and not key.endswith("-bin") and key not in ("te",)
)


@settings(deadline=None)
@given(st.lists(st.tuples(_KEYS, st.from_regex(r"[!-~]([ -~]*[!-~])?", fullmatch=True))))
def test_text_metadata_encoded_and_decoded_is_the_same(pairs: list[tuple[str, str]]) -> None:
    assert list(metadata.decode_metadata(metadata.encode_metadata(pairs)).items()) == pairs


@settings(deadline=None)
@given(st.lists(st.tuples(_KEYS.map(lambda key: key + "-bin"), st.binary())))
def test_binary_metadata_encoded_and_decoded_is_the_same(pairs: list[tuple[str, bytes]]) -> None:
    assert list(metadata.decode_metadata(metadata.encode_metadata(pairs)).items()) == pairs


def test_binary_metadata_has_no_padding_and_is_taken_with_it() -> None:
    assert metadata.encode_metadata({"a-bin": b"x"}) == [(b"a-bin", b"eA")]
    assert metadata.decode_metadata([(b"a-bin", b"eA==")])["a-bin"] == b"x"


def test_binary_metadata_joined_by_commas_is_several_values() -> None:
    assert metadata.decode_metadata([(b"a-bin", b"eA,eQ==, eg")]).getall("a-bin") == [b"x", b"y", b"z"]


def test_binary_metadata_that_is_not_base64_is_left_out() -> None:
    decoded = metadata.decode_metadata([(b"a-bin", b"!!,eQ"), (b"b-bin", b"e"), (b"c", b"d")])
    assert list(decoded.items()) == [("a-bin", b"y"), ("c", "d")]


def test_protocol_headers_are_not_metadata() -> None:
    headers = [*REQUEST_HEADERS.items(), (b"grpc-timeout", b"1S"), (b"user-agent", b"x"), (b"k", b"v")]
    assert dict(metadata.decode_metadata(headers)) == {"k": "v"}


@pytest.mark.parametrize(
    "pair", [("UPPER", "x"), ("grpc-x", "x"), ("te", "x"), ("k", "a\nb"), ("k", "ä"), ("", "x")]
)
def test_metadata_that_cannot_be_sent_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="Invalid"):
        metadata.encode_metadata([pair])


@settings(deadline=None)
@given(st.text())
def test_message_percent_encoded_and_decoded_is_the_same(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    encoded = metadata.percent_encode(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert metadata.percent_decode(encoded) == text


@pytest.mark.parametrize(
    ("encoded", "text"), [(b"%", "%"), (b"%zz", "%zz"), (b"%ff", "�"), (b"a%20b", "a b")]
)
def test_message_badly_encoded_is_still_shown(encoded: bytes, text: str) -> None:
    assert metadata.percent_decode(encoded) == text


# Messages


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 50)))
def test_messages_framed_and_cut_anywhere_come_out_whole(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frame(message) for message in messages)
    deframer = Deframer(max_bytes=300)
    received = []
    for size in [*cuts, len(data)]:
        deframer.feed(data[:size])
        data = data[size:]
        while (message := deframer.next_message()) is not None:
            received.append(message)
    assert received == messages
    assert len(deframer) == 0
    deframer.finish()


def test_message_over_the_limit_is_refused_on_its_prefix() -> None:
    deframer = Deframer(max_bytes=10)
    deframer.feed(b"\0\0\0\0\x0b")
    with pytest.raises(MessageTooLargeError, match="11 bytes"):
        deframer.next_message()


def test_message_of_the_limit_passes() -> None:
    deframer = Deframer(max_bytes=10)
    deframer.feed(frame(b"0123456789"))
    assert deframer.next_message() == b"0123456789"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [(b"\2\0\0\0\0", b"identity"), (b"\1\0\0\0\0", b"identity"), (b"\xff\0\0\0\0", GZIP)],
)
def test_message_with_a_flag_that_means_nothing_is_refused(data: bytes, encoding: bytes) -> None:
    deframer = Deframer(10, encoding)
    deframer.feed(data)
    with pytest.raises(FramingError):
        deframer.next_message()


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\0\2", b"\0\0\0\0\2x"])
def test_stream_ended_within_a_message_is_refused(data: bytes) -> None:
    deframer = Deframer(10)
    deframer.feed(data)
    assert deframer.next_message() is None
    with pytest.raises(FramingError):
        deframer.finish()


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_compressed_message_is_inflated(message: bytes) -> None:
    compressed = gzip.compress(message)
    deframer = Deframer(4000, GZIP)
    deframer.feed(b"\1" + len(compressed).to_bytes(4, "big") + compressed)
    assert deframer.next_message() == message


def test_compressed_message_may_inflate_to_the_limit_and_no_further() -> None:
    assert inflate(gzip.compress(bytes(1000)), 1000) == bytes(1000)
    with pytest.raises(MessageTooLargeError):
        inflate(gzip.compress(bytes(1001)), 1000)


def test_zip_bomb_is_given_up_at_the_limit() -> None:
    import tracemalloc

    bomb = gzip.compress(bytes(200_000_000), 1)
    tracemalloc.start()
    with pytest.raises(MessageTooLargeError):
        inflate(bomb, 1_000_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not gzip",
        gzip.compress(b"x", mtime=0)[:-1],
        gzip.compress(b"x", mtime=0) + b"!",
        gzip.compress(b"x", mtime=0) * 2,
    ],
)
def test_compressed_message_that_is_not_one_gzip_member_is_refused(data: bytes) -> None:
    with pytest.raises(FramingError):
        inflate(data, 100)


# Details


def test_details_are_a_serialized_status() -> None:
    from google.protobuf.any_pb2 import Any

    packed = Any()
    packed.Pack(StringValue(value="why"))
    inner = packed.SerializeToString()
    encoded = metadata.decode_binary(encode_details(Status.NOT_FOUND, "m" * 200, [StringValue(value="why")]))
    assert encoded == b"\x08\x05\x12\xc8\x01" + b"m" * 200 + b"\x1a" + bytes([len(inner)]) + inner


def test_details_as_bytes_pass_unchanged_and_others_are_refused() -> None:
    assert metadata.decode_binary(encode_details(Status.OK, "", b"\0\1")) == b"\0\1"
    for wrong in (["text"], 3):
        with pytest.raises(TypeError):
            encode_details(Status.OK, "", wrong)


# Configuration


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (Http2Limits, {"max_concurrent_streams": 0}),
        (Http2Limits, {"stream_window_bytes": 65_534}),
        (Http2Limits, {"connection_window_bytes": 2**31}),
        (Http2Limits, {"resets_per_s": -1}),
        (Timeouts, {"handshake_s": 0}),
        (Timeouts, {"keepalive_s": float("nan")}),
        (ServerLimits, {"max_connections": 0}),
        (ServerLimits, {"first_message_s": 0}),
        (ChannelConfig, {"max_message_bytes": 0}),
    ],
)
def test_configuration_that_makes_no_sense_is_refused(make: type, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="want"):
        make(**wrong)
