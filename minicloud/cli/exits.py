"""This module has the exit codes, and the errors that have an exit code of their own."""

from __future__ import annotations

from minicloud.core.errors import MiniCloudError

OK = 0
FAILED = 1
USAGE = 2
GAVE_UP = 3
INTERRUPTED = 130  # 128 + SIGINT, by the convention of shells

SHOWN = """\
exit codes:
  0    done; a control plane or worker that was told to end (SIGTERM, SIGINT, SIGHUP), or a dev
       cluster (SIGTERM, SIGHUP), ended in order
  1    the operation failed, or what ran did: a crash; standard output is full or closed; or
       what is needed to start is not there yet: an address, a name, a port or data folder that
       another program uses, room on the disk. Starting it again may help
  2    nothing was started, and starting it again does not help: the command line, the
       configuration or what it names is wrong, a folder or file is not ours
  3    a worker gave up (--exit-after-failures)
  130  an operator command or a dev cluster was interrupted with Ctrl-C"""


class OperationError(MiniCloudError):
    """The operation that the user asked for failed; the program exits with 1."""
