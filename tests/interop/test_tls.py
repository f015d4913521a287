"""TLS works between grpcio and us, both ways: every cardinality, large messages, and refused peers."""

from __future__ import annotations

from typing import Any

import grpc
import trustme
from grpclib.const import Status
from structlog.testing import capture_logs

from minicloud.http2.config import MIB
from minicloud.rpc.config import ChannelConfig, ServerLimits
from tests.interop import ours, theirs
from tests.interop.ours import UNARY, Stream, our_channel, our_server
from tests.interop.theirs import ANY_SIZE, Context, grpcio_channel, grpcio_server, in_thread
from tests.tls import client_context, server_context

LARGE = bytes(range(250)) * 200_000  # 50 MB
LARGE_LIMIT = 64 * MIB

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
SERVER_CERT = AUTHORITY.issue_cert("127.0.0.1")
ELSEWHERE_CERT = AUTHORITY.issue_cert("elsewhere.example")
CLIENT_CERT = AUTHORITY.issue_cert("worker-1")


def grpcio_server_credentials(
    certificate: trustme.LeafCert = SERVER_CERT, *, wants_client_cert: bool = False
) -> Any:
    return grpc.ssl_server_credentials(
        [pem_pair(certificate)],
        root_certificates=AUTHORITY.cert_pem.bytes() if wants_client_cert else None,
        require_client_auth=wants_client_cert,
    )


def grpcio_client_credentials(
    trusted: trustme.CA = AUTHORITY, certificate: trustme.LeafCert | None = None
) -> Any:
    key, chain = (None, None) if certificate is None else pem_pair(certificate)
    return grpc.ssl_channel_credentials(trusted.cert_pem.bytes(), key, chain)


def pem_pair(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
    """Return the key and the chain."""
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    return certificate.private_key_pem.bytes(), chain


async def test_grpcio_client_calls_our_server_over_tls() -> None:
    limits = ServerLimits(max_message_bytes=LARGE_LIMIT)
    async with our_server(limits=limits, ssl_context=server_context(SERVER_CERT)) as up:
        with grpcio_channel(up.port, ANY_SIZE, grpcio_client_credentials()) as channel:
            await in_thread(theirs.call_each_cardinality, channel)
            assert await theirs.call(channel, LARGE) == LARGE


async def test_our_client_calls_grpcio_server_over_tls() -> None:
    config = ChannelConfig(max_message_bytes=LARGE_LIMIT)
    async with (
        grpcio_server(options=ANY_SIZE, credentials=grpcio_server_credentials()) as up,
        our_channel(up.port, config=config, ssl_context=client_context(AUTHORITY)) as channel,
    ):
        await ours.call_each_cardinality(channel)
        assert await ours.call(channel, LARGE) == LARGE


async def test_grpcio_client_that_does_not_trust_our_authority_is_unavailable_with_the_reason() -> None:
    with capture_logs() as logs:
        async with our_server(ssl_context=server_context(SERVER_CERT)) as up:
            with grpcio_channel(up.port, credentials=grpcio_client_credentials(STRANGER)) as channel:
                error = await theirs.failed(channel)
            with grpcio_channel(up.port, credentials=grpcio_client_credentials()) as channel:
                assert await theirs.call(channel) == b"x"
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "CERTIFICATE_VERIFY_FAILED" in error.details()
    dropped = [line["reason"] for line in logs if line["event"] == "rpc_connection_dropped"]
    assert dropped
    assert all(reason.startswith("TLS handshake failed: ") for reason in dropped)


async def test_our_client_that_does_not_trust_grpcios_authority_is_unavailable_with_the_reason() -> None:
    async with (
        grpcio_server(credentials=grpcio_server_credentials()) as up,
        our_channel(up.port, ssl_context=client_context(STRANGER)) as channel,
    ):
        error = await ours.failed(channel)
    assert error.status is Status.UNAVAILABLE
    assert f"127.0.0.1:{up.port}: " in (error.message or "")
    assert "certificate verify failed" in (error.message or "")


async def test_our_client_that_is_shown_anothers_certificate_is_unavailable_with_the_reason() -> None:
    async with (
        grpcio_server(credentials=grpcio_server_credentials(ELSEWHERE_CERT)) as up,
        our_channel(up.port, ssl_context=client_context(AUTHORITY)) as channel,
    ):
        error = await ours.failed(channel)
    assert error.status is Status.UNAVAILABLE
    assert "certificate is not valid for '127.0.0.1'" in (error.message or "")


async def test_our_server_that_wants_a_certificate_takes_grpcio_with_one_and_refuses_it_without() -> None:
    certificates: list[Any] = []

    async def handler(stream: Stream) -> None:
        certificates.append(stream.peer.cert())
        await ours.echo(stream)

    context = server_context(SERVER_CERT, clients=AUTHORITY)
    async with our_server({UNARY: handler}, ssl_context=context) as up:
        with grpcio_channel(up.port, credentials=grpcio_client_credentials()) as channel:
            assert (await theirs.failed(channel)).code() is grpc.StatusCode.UNAVAILABLE
        credentials = grpcio_client_credentials(certificate=CLIENT_CERT)
        with grpcio_channel(up.port, credentials=credentials) as channel:
            assert await theirs.call(channel) == b"x"
    (certificate,) = certificates
    assert ("DNS", "worker-1") in certificate["subjectAltName"]


async def test_grpcio_server_that_wants_a_certificate_takes_us_with_one_and_refuses_us_without() -> None:
    names: list[bytes] = []

    def handler(request: bytes, context: Context) -> bytes:
        names.extend(context.auth_context()["x509_subject_alternative_name"])
        return request

    credentials = grpcio_server_credentials(wants_client_cert=True)
    context = client_context(AUTHORITY)
    async with grpcio_server({UNARY: handler}, credentials=credentials) as up:
        async with our_channel(up.port, ssl_context=context) as channel:
            refused = await ours.failed(channel)
        CLIENT_CERT.configure_cert(context)
        async with our_channel(up.port, ssl_context=context) as channel:
            assert await ours.call(channel) == b"x"
    assert refused.status is Status.UNAVAILABLE
    assert f"127.0.0.1:{up.port}: no HTTP/2 there" in (refused.message or "")
    assert names == [b"worker-1"]


async def test_plain_text_and_tls_do_not_mix_and_others_are_served() -> None:
    async with our_server(ssl_context=server_context(SERVER_CERT)) as up:
        with grpcio_channel(up.port) as plain:
            assert (await theirs.failed(plain)).code() is grpc.StatusCode.UNAVAILABLE
        with grpcio_channel(up.port, credentials=grpcio_client_credentials()) as channel:
            assert await theirs.call(channel) == b"x"
    async with (
        grpcio_server() as stock,
        our_channel(stock.port, ssl_context=client_context(AUTHORITY)) as channel,
    ):
        assert (await ours.failed(channel)).status is Status.UNAVAILABLE
