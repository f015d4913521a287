"""This module makes a network with addresses, routes and names of its own, which only some processes see."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_MUTE = """\
import socket, sys, time
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
time.sleep(600)
"""


class OwnNetwork:
    """An `OwnNetwork` is a loopback with further IPv4 `addresses`, and `names` (lines of a hosts file), for
    processes run behind `inside`.

    Raises `PermissionError` where the test has no right to make one.
    """

    def __init__(self, folder: Path, addresses: Sequence[str], names: Sequence[str]) -> None:
        hosts = folder / "hosts"
        hosts.write_text("".join(f"{line}\n" for line in names))
        adding = "".join(f"ip address add {address}/32 dev lo && " for address in addresses)
        script = (
            f'ip link set lo up && {adding} mount --bind "{hosts}" /etc/hosts && echo made && exec sleep 600'
        )
        self._mutes: list[subprocess.Popen[bytes]] = []
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.inside = (
            *("nsenter", f"--net=/proc/{self._holder.pid}/ns/net"),
            *(f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"),
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != b"made\n":
            reason = self._holder.stderr.read().decode()
            self.close()
            raise PermissionError(reason)

    def run(self, *command: str) -> None:
        """Run a command inside."""
        subprocess.run([*self.inside, *command], check=True, capture_output=True)

    def reach(self, address: str, source: str) -> None:
        """Have packets to `address` leave from `source`."""
        self.run(
            "ip", "route", "replace", "local", f"{address}/32", "dev", "lo", "table", "local", "src", source
        )

    def accept_and_never_answer(self, address: str, port: int) -> None:
        """Listen there, accept connections and send nothing."""
        mute = subprocess.Popen(
            [*self.inside, sys.executable, "-c", _MUTE, address, str(port)], stdout=subprocess.PIPE
        )
        self._mutes.append(mute)
        assert mute.stdout is not None
        assert mute.stdout.readline() == b"listening\n"

    def close(self) -> None:
        for process in (*self._mutes, self._holder):
            process.kill()
            process.communicate()


@contextmanager
def own_network(folder: Path, *addresses: str, names: Sequence[str] = ()) -> Iterator[OwnNetwork]:
    """Make such a network for the block; skip the test where none can be made."""
    for tool in ("unshare", "nsenter", "ip"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool} here")
    try:
        network = OwnNetwork(folder, addresses, names)
    except PermissionError as error:
        pytest.skip(f"no network of one's own may be made here: {error}")
    try:
        yield network
    finally:
        network.close()
