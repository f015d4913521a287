"""No address, and no calls that wait or stay open, keep others from being served."""

from __future__ import annotations

import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from minicloud.http2.config import Timeouts
from minicloud.rpc.admission import Admission, PeerShare, peer_key
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.refusals import Cause
from tests.unit.http2.raw_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    frame_bytes,
)
from tests.unit.rpc.raw_peer import RawPeer, message_bytes, raw_peer
from tests.unit.rpc.support import (
    CLIENT_STREAM,
    SERVER_STREAM,
    UNARY,
    Recorder,
    Stream,
    answer,
    make_server,
    request,
    sleep_for_ever,
)

LIMITS = ServerLimits(max_connections=8, max_calls=20)
# Of 20 calls: 10 of one address, 10 that stay open (2 of one address), 4 that wait (1 of one address).


def connected(admission: Admission[int], key: str) -> PeerShare[int]:
    share = admission.connect(key)
    assert not isinstance(share, Cause)
    return share


def test_address_leaves_a_quarter_of_the_connections_to_others() -> None:
    admission: Admission[int] = Admission(LIMITS)
    for _ in range(6):
        connected(admission, "a")
    assert admission.connect("a") is Cause.PEER_CONNECTIONS
    first = connected(admission, "b")
    connected(admission, "b")
    assert admission.connect("c") is Cause.CONNECTIONS
    admission.disconnect(first)
    connected(admission, "c")


def test_address_leaves_half_of_the_calls_to_others() -> None:
    admission: Admission[int] = Admission(LIMITS)
    one, other = connected(admission, "a"), connected(admission, "b")
    for _ in range(10):
        assert admission.obstacle(one, stream=False) is None
        admission.begin(one, stream=False)
    assert admission.obstacle(one, stream=False) is Cause.PEER_CALLS
    for _ in range(10):
        assert admission.obstacle(other, stream=False) is None
        admission.begin(other, stream=False)
    assert admission.obstacle(connected(admission, "c"), stream=False) is Cause.CALLS
    admission.end(one, 0, stream=False)
    assert admission.obstacle(one, stream=False) is None


def test_streams_leave_room_for_calls_that_end() -> None:
    admission: Admission[int] = Admission(LIMITS)
    shares = [connected(admission, str(n)) for n in range(6)]
    for share in shares[:5]:
        for _ in range(2):
            assert admission.obstacle(share, stream=True) is None
            admission.begin(share, stream=True)
        assert admission.obstacle(share, stream=True) in (Cause.PEER_STREAMS, Cause.STREAMS)
    assert admission.obstacle(shares[5], stream=True) is Cause.STREAMS
    assert admission.obstacle(shares[5], stream=False) is None
    admission.end(shares[0], 0, stream=True)
    assert admission.obstacle(shares[5], stream=True) is None


def test_call_that_waits_longest_makes_room() -> None:
    admission: Admission[int] = Admission(LIMITS)
    shares = [connected(admission, str(n)) for n in range(6)]
    assert [admission.wait(share, n) for n, share in enumerate(shares[:4])] == [None] * 4
    assert admission.wait(shares[4], 4) == 0  # of all
    assert admission.wait(shares[3], 5) == 3  # of its own address first
    for n, share in ((1, 1), (2, 2), (4, 4), (5, 3)):
        admission.arrived(shares[share], n)
    assert admission.wait(shares[5], 6) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=60))
def test_everything_that_is_given_back_can_be_had_again(steps: list[tuple[int, bool, bool]]) -> None:
    admission: Admission[int] = Admission(LIMITS)
    shares = [connected(admission, str(n)) for n in range(4)]
    open_calls: list[tuple[PeerShare[int], int, bool]] = []
    for number, (peer, stream, ends) in enumerate(steps):
        if ends and open_calls:
            share, call, was_stream = open_calls.pop(0)
            admission.end(share, call, stream=was_stream)
        elif admission.obstacle(shares[peer], stream=stream) is None:
            admission.begin(shares[peer], stream=stream)
            admission.wait(shares[peer], number)
            open_calls.append((shares[peer], number, stream))
        assert admission.active_calls == len(open_calls) == sum(share.calls for share in shares)
        assert sum(share.streams for share in shares) == sum(stream for *_, stream in open_calls)
    for share, call, was_stream in open_calls:
        admission.end(share, call, stream=was_stream)
    for share in shares:
        assert (share.calls, share.streams, share.waiting) == (0, 0, {})
        admission.disconnect(share)
    assert (admission.active_calls, admission.open_connections) == (0, 0)
    assert (admission._streams, admission._waiting, admission._peers) == (0, {}, {})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("/run/socket", "/run/other", False),
    ],
)
def test_peer_key_is_of_an_address_or_a_network_of_ipv6(one: str, other: str, same: bool) -> None:
    assert (peer_key(one) == peer_key(other)) is same


async def test_calls_without_a_message_do_not_keep_others_out() -> None:
    recorder = Recorder([])
    server = make_server({UNARY: answer}, limits=LIMITS, observer=recorder)
    async with raw_peer(server) as hostile, raw_peer(server) as friend:
        await hostile.start()
        await friend.start()
        with capture_logs() as logs:
            for n in range(50):
                await hostile.request(2 * n + 1, body=None, end=False)
            assert (await hostile.expect(RST_STREAM, 1)).error_code == REFUSED_STREAM
            await wait_all_tasks_blocked()
            assert server.active_calls <= 4
        for n in range(5):
            await friend.request(2 * n + 1)
            await friend.expect_headers(2 * n + 1)
            assert (await friend.expect_headers(2 * n + 1))["grpc-status"] == "0"
    assert set(recorder.refused) == {Cause.WAITING}
    assert {(line["event"], line["cause"]) for line in logs} == {("rpc_call_refused", "waiting")}


async def test_calls_that_stay_open_do_not_keep_others_out() -> None:
    recorder = Recorder([])
    server = make_server({UNARY: answer, SERVER_STREAM: sleep_for_ever}, limits=LIMITS, observer=recorder)
    async with raw_peer(server) as hostile, raw_peer(server) as friend:
        await hostile.start()
        await friend.start()
        for n in range(30):
            await hostile.request(2 * n + 1, {b":path": SERVER_STREAM.encode()})
        assert (await hostile.expect(RST_STREAM)).error_code == REFUSED_STREAM
        await friend.request(1)
        await friend.expect_headers(1)
        assert (await friend.expect_headers(1))["grpc-status"] == "0"
    assert set(recorder.refused) == {Cause.PEER_STREAMS}


@pytest.mark.parametrize("path", [UNARY, CLIENT_STREAM])
@pytest.mark.parametrize("sent", [b"", b"\0\0", message_bytes(b"half", size=100)])
async def test_call_whose_first_message_does_not_come_in_time_ends(
    path: str, sent: bytes, autojump_clock: object
) -> None:
    recorder = Recorder([])
    limits = ServerLimits(first_message_s=7)
    server = make_server({UNARY: answer, CLIENT_STREAM: answer}, limits=limits, observer=recorder)
    async with raw_peer(server) as peer:
        await peer.start()
        started_s = trio.current_time()
        await peer.request(1, {b":path": path.encode()}, sent, end=False)
        await trio.sleep(3)
        await peer.send(DATA, 0, 1, b"")  # which is no message
        headers = await peer.expect_headers(1)
        assert headers["grpc-status"] == "4"
        assert trio.current_time() - started_s == pytest.approx(7, abs=0.01)
    assert recorder.refused == [Cause.NO_MESSAGE]


async def test_first_message_that_keeps_coming_may_take_its_time(autojump_clock: object) -> None:
    limits = ServerLimits(first_message_s=7, timeouts=Timeouts(keepalive_s=math.inf))
    async with raw_peer(make_server({UNARY: answer}, limits=limits)) as peer:
        await peer.start()
        message = bytes(request(400_000))
        body = message_bytes(message)
        await peer.request(1, body=body[:16_000], end=False)
        for start in range(16_000, len(body), 16_000):
            await trio.sleep(0.5)
            await peer.send(DATA, 0, 1, body[start : start + 16_000])
        await peer.expect_headers(1)
        assert (await peer.expect_headers(1))["grpc-status"] == "0"
        assert trio.current_time() > 12


async def test_call_whose_first_message_has_come_may_take_its_time(autojump_clock: object) -> None:
    limits = ServerLimits(first_message_s=7, timeouts=Timeouts(keepalive_s=math.inf))
    server = make_server({CLIENT_STREAM: answer_slowly}, limits=limits)
    async with raw_peer(server) as peer:
        await peer.start()
        await peer.request(1, {b":path": CLIENT_STREAM.encode()}, message_bytes(bytes(request())), end=False)
        await trio.sleep(100)
        await peer.send(DATA, END_STREAM, 1, message_bytes(bytes(request())))
        await peer.expect_headers(1)
        assert (await peer.expect_headers(1))["grpc-status"] == "0"


async def answer_slowly(stream: Stream) -> None:
    await answer(stream)
    async for _ in stream:
        pass


async def test_call_that_has_its_message_waits_no_more_though_its_handler_has_not_taken_it() -> None:
    server = make_server({UNARY: sleep_for_ever}, limits=LIMITS)
    async with raw_peer(server) as peer:
        await peer.start()
        for n in range(5):
            await peer.request(2 * n + 1, body=message_bytes(b"ab")[:4], end=False)
            await peer.send(DATA, 0, 2 * n + 1, message_bytes(b"ab")[4:])
        await wait_all_tasks_blocked()
        assert server.active_calls == 5


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({b"Key": b"v"}, Cause.MALFORMED),
        ({b":method": b"GET"}, Cause.NOT_GRPC),
        ({b":path": b"/nope"}, Cause.UNKNOWN_METHOD),
        ({b"grpc-encoding": b"snappy"}, Cause.ENCODING),
        ({b"grpc-timeout": b"soon"}, Cause.TIMEOUT),
    ],
)
async def test_request_that_can_never_be_served_is_counted_and_logged_and_many_are_a_flood(
    changed: dict[bytes, bytes], cause: Cause, autojump_clock: object
) -> None:
    recorder = Recorder([])
    with capture_logs() as logs:
        async with raw_peer(make_server({UNARY: answer}, observer=recorder)) as peer:
            await peer.start()
            for n in range(101):
                await _try(peer, 2 * n + 1, changed)
            await peer.expect_close()
    assert recorder.refused == [cause] * 101 + [Cause.FLOOD]
    assert [line["cause"] for line in logs if line["event"] == "rpc_call_refused"] == [cause.value] * 101


async def test_metadata_over_the_limit_is_counted() -> None:
    recorder = Recorder([])
    async with raw_peer(make_server({UNARY: answer}, observer=recorder)) as peer:
        await peer.start()
        await _try(peer, 1, {b"k": b"v" * 17_000})
        assert (await peer.expect_headers(1))["grpc-status"] == "8"
    assert recorder.refused == [Cause.METADATA]


async def _try(peer: RawPeer, stream_id: int, changed: dict[bytes, bytes]) -> None:
    """Send a request in two frames, as one with much metadata needs."""
    block = peer.header_block(changed)
    first = frame_bytes(HEADERS, 0, stream_id, block[:16_000])
    await peer.stream.send_all(first + frame_bytes(CONTINUATION, END_HEADERS, stream_id, block[16_000:]))


@pytest.mark.parametrize(
    ("sent", "cause"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Cause.PROTOCOL),
        (None, Cause.HANDSHAKE),
    ],
)
async def test_connection_that_is_dropped_is_counted(
    sent: bytes | None, cause: Cause, autojump_clock: object
) -> None:
    recorder = Recorder([])
    async with raw_peer(make_server({UNARY: answer}, observer=recorder)) as peer:
        if sent:
            await peer.stream.send_all(sent)
        frames = await peer.expect_close()
        await wait_all_tasks_blocked()
    assert recorder.refused == [cause]
    assert sent is None or frames[-1].error_code == PROTOCOL_ERROR
