"""This script stands in for the processes of a dev cluster: `python stub_process.py [--worker] …`, called as
minicloud would be.

STUB_FAULT is the fault: `control-plane` (it ends at once with 2), `worker-1` (it ends with 7), `stubborn` (no
process heeds SIGTERM). It is run by its path, so it imports nothing of ours.
"""

import os
import signal
import socket
import sys


def main() -> int:
    arguments = sys.argv[1:]
    fault = os.environ.get("STUB_FAULT", "")
    name = arguments[arguments.index("--id") + 1] if "--worker" in arguments else "control-plane"
    # The port comes first: a test that finds it open may send a signal.
    signal.signal(signal.SIGTERM, signal.SIG_IGN if fault == "stubborn" else _end)
    print(f"{name} with {' '.join(arguments)}", flush=True)
    print(f"settings: {sorted(key for key in os.environ if key.startswith('MINICLOUD_'))}", file=sys.stderr)
    if fault == name:
        print("something is wrong\x1b[2J", file=sys.stderr)
        return 2 if name == "control-plane" else 7
    with socket.socket() as listener:
        if name == "control-plane":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", int(arguments[arguments.index("--http-port") + 1])))
            listener.listen()
        while True:
            signal.pause()


def _end(number: int, _: object) -> None:
    # `print` would not do, as it cannot be called again from within itself.
    os.write(1, b"ended in order\n")
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
