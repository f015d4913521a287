"""This module lists the keys of the Spring Boot starters for gRPC that MiniCloud does not have.

A file from a Spring service has them. They change nothing here, and are not taken for misspelt keys of ours,
however close they come (DESIGN 71). The names are those of net.devh's grpc-spring-boot-starter 3.1
(GrpcServerProperties and GrpcChannelProperties), in canonical spelling; `grpc.enabled` is LogNet's.
"""

from __future__ import annotations

_OF_BOTH = frozenset(
    {
        "enablekeepalive",
        "keepalivetime",
        "keepalivetimeout",
        "maxinboundmessagesize",
        "maxinboundmetadatasize",
        "security",
        "shutdowngraceperiod",
    }
)
_OF_THE_SERVER = _OF_BOTH | {
    "healthservice",
    "healthserviceenabled",
    "inprocessname",
    "maxconnectionage",
    "maxconnectionagegrace",
    "maxconnectionidle",
    "permitkeepalivetime",
    "permitkeepalivewithoutcalls",
}
_OF_A_CHANNEL = _OF_BOTH | {
    "address",
    "defaultloadbalancingpolicy",
    "defaultrequesttimeout",
    "immediateconnecttimeout",
    "keepalivewithoutcalls",
    "negotiationtype",
    "useragent",
}


def is_of_the_starter(key: str) -> bool:
    """Return True if `key`, in canonical spelling, is one of the starter's. Names of channels may be any."""
    match key.split("."):
        case ["grpc", "server", name]:
            return name in _OF_THE_SERVER
        case ["grpc", "client", _, name]:
            return name in _OF_A_CHANNEL
        case ["grpc", "server", "security", _] | ["grpc", "client", _, "security", _]:
            return True
    return key in ("grpc.client.defaultscheme", "grpc.enabled")
