"""The proxy of a request comes from the variables that other programs use.

HTTP_PROXY, HTTPS_PROXY and ALL_PROXY name it, in lower case too, and NO_PROXY the hosts and networks that are
reached without one. Requests to this machine (localhost, 127.0.0.0/8, ::1) never go through a proxy, whatever
these variables hold (DESIGN 73).
"""

from __future__ import annotations

import ipaddress
from urllib.request import getproxies_environment, proxy_bypass

from minicloud.cli.address import HttpAddress, parse_address
from minicloud.core.errors import ConfigError


def proxy_for(target: HttpAddress) -> HttpAddress | None:
    """Return the proxy for requests to `target`, or None. Raises `ConfigError` for one that is unusable."""
    if target.is_loopback:
        return None
    proxies = getproxies_environment()
    url = proxies.get(target.scheme) or proxies.get("all")
    if not url or proxy_bypass(target.authority, proxies) or _in_networks(target.host, proxies.get("no", "")):
        return None
    where = f"{target.scheme.upper()}_PROXY"
    if "://" in url and not url.lower().startswith("http://"):
        raise ConfigError(
            f"{where}: only proxies that are spoken to in plain HTTP are supported: give http://HOST:PORT, "
            f"or add {target.host} to NO_PROXY"
        )
    return parse_address(url, where)


def _in_networks(host: str, exempt: str) -> bool:
    """Return True if `host` is an address in one of the networks of a NO_PROXY list, such as `10.0.0.0/8`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in exempt.split(","):
        try:
            if address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False
