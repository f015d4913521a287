"""The health service answers while serving and while stopping, and watching ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError
from trio.testing import MockClock, wait_all_tasks_blocked

from minicloud.rpc.channel import Channel
from minicloud.rpc.client_stream import ClientStream
from minicloud.rpc.health import Health
from minicloud.rpc.server import Server
from minicloud.wire.gen.grpc.health.v1 import HealthCheckRequest, HealthCheckResponse, HealthStub
from minicloud.wire.gen.grpc.health.v1 import HealthCheckResponseServingStatus as ServingStatus
from minicloud.wire.gen.minicloud.execution import WorkerManagementServiceBase
from tests.unit.rpc.support import connect_to

SERVICE = "minicloud.execution.WorkerManagementService"

WatchStream = ClientStream[HealthCheckRequest, HealthCheckResponse]


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Health, Server, Channel]]:
    service = WorkerManagementServiceBase()
    health = Health([service])
    server = Server([service, health], random=Random(1))
    async with trio.open_nursery() as nursery:
        yield health, server, Channel(nursery, [connect_to(server, nursery)], random=Random(2))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def watching(channel: Channel, service: str) -> AsyncIterator[WatchStream]:
    async with channel.request(
        "/grpc.health.v1.Health/Watch", Cardinality.UNARY_STREAM, HealthCheckRequest, HealthCheckResponse
    ) as stream:
        await stream.send_message(HealthCheckRequest(service), end=True)
        yield stream


async def next_status(stream: WatchStream) -> ServingStatus:
    message = await stream.recv_message()
    assert message is not None
    return message.status


async def check(channel: Channel, service: str) -> ServingStatus:
    answer = await channel.stub(HealthStub).check(HealthCheckRequest(service))
    return answer.status


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_check_served_is_serving_until_it_stops(service: str) -> None:
    async with serving() as (health, _, channel):
        assert await check(channel, service) == ServingStatus.SERVING
        health.stop_serving()
        assert await check(channel, service) == ServingStatus.NOT_SERVING


async def test_status_follows_what_is_set_until_serving_is_stopped_for_good() -> None:
    async with serving() as (health, _, channel), watching(channel, "") as stream:
        assert await next_status(stream) == ServingStatus.SERVING
        for serving_now in (False, True, False):
            health.set_serving(serving_now)
            expected = ServingStatus.SERVING if serving_now else ServingStatus.NOT_SERVING
            assert await next_status(stream) == expected
            assert await check(channel, "") == expected
        health.stop_serving()
        health.set_serving(True)
        assert await check(channel, "") == ServingStatus.NOT_SERVING


async def test_check_unknown_service_is_not_found() -> None:
    async with serving() as (_, _, channel):
        with pytest.raises(GRPCError, match=r"NOT_FOUND.*no such service: x\.Y"):
            await check(channel, "x.Y")


async def test_list_names_every_service_and_the_whole() -> None:
    async with serving() as (health, _, channel):
        statuses = (await channel.stub(HealthStub).list()).statuses
        assert {name: status.status for name, status in statuses.items()} == {
            "": ServingStatus.SERVING,
            SERVICE: ServingStatus.SERVING,
        }
        health.stop_serving()
        statuses = (await channel.stub(HealthStub).list()).statuses
        assert {status.status for status in statuses.values()} == {ServingStatus.NOT_SERVING}


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_watch_is_told_once_of_each_status_and_goes_on(service: str) -> None:
    async with serving() as (health, server, channel), watching(channel, service) as stream:
        assert await next_status(stream) == ServingStatus.SERVING
        health.stop_serving()
        health.stop_serving()
        assert await next_status(stream) == ServingStatus.NOT_SERVING
        await wait_all_tasks_blocked()
        assert server.active_calls == 1
        health.close()
        with pytest.raises(GRPCError, match=r"UNAVAILABLE.*shutting down"):
            await stream.recv_message()


async def test_watch_unknown_service_is_told_so_and_goes_on_until_the_server_stops() -> None:
    async with serving() as (health, server, channel), watching(channel, "x.Y") as stream:
        assert await next_status(stream) == ServingStatus.SERVICE_UNKNOWN
        health.stop_serving()
        await wait_all_tasks_blocked()
        assert server.active_calls == 1
        health.close()
        with pytest.raises(GRPCError, match="UNAVAILABLE"):
            await stream.recv_message()


async def test_watch_server_stops_is_told_and_holds_it_up_no_moment(autojump_clock: MockClock) -> None:
    async with serving() as (health, server, channel), watching(channel, "") as stream:
        assert await next_status(stream) == ServingStatus.SERVING
        before_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            health.close()
            nursery.start_soon(server.stop, 5.0)
            assert await next_status(stream) == ServingStatus.NOT_SERVING
            with pytest.raises(GRPCError, match="UNAVAILABLE"):
                await stream.recv_message()
        assert trio.current_time() - before_s < 1


async def test_watch_client_that_never_reads_is_cut_off_at_the_grace(autojump_clock: MockClock) -> None:
    async with serving() as (health, server, channel), watching(channel, ""):
        await wait_all_tasks_blocked()
        health.close()
        before_s = trio.current_time()
        await server.stop(5.0)
        assert trio.current_time() - before_s <= 5


async def test_watch_opened_while_stopping_is_told_and_ended() -> None:
    async with serving() as (health, _, channel):
        health.close()
        async with watching(channel, "") as stream:
            assert await next_status(stream) == ServingStatus.NOT_SERVING
            with pytest.raises(GRPCError, match="UNAVAILABLE"):
                await stream.recv_message()


async def test_watch_cancelled_by_the_client_leaves_nothing() -> None:
    async with serving() as (health, server, channel):
        async with watching(channel, "") as stream:
            await next_status(stream)
            assert server.active_calls == 1
        await wait_all_tasks_blocked()
        assert server.active_calls == 0
        health.stop_serving()
