"""Exit codes, and the failures that have one of their own."""

from __future__ import annotations

from minicloud.core.errors import MiniCloudError

OK = 0
FAILED = 1
USAGE = 2
GAVE_UP = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells count

SHOWN = """\
exit codes:
  0    done; a control plane or worker that was told to end (SIGTERM, SIGINT, SIGHUP), or a dev
       cluster (SIGTERM, SIGHUP), ended in order
  1    the operation failed, or what ran did: the registry's disk is full, a crash;
       or standard output is full or closed
  2    nothing was started: the command line, the configuration or what it names is wrong,
       a port is in use, a data folder cannot be written, a registry cannot be read
  3    a worker gave up (--exit-after-failures)
  130  an operator command or a dev cluster was interrupted with Ctrl-C"""


class OperationError(MiniCloudError):
    """What the user asked for could not be done; the program exits with 1."""
