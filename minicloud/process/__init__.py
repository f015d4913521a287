"""Processes that belong together: a child ends with its parent.

    child = Child("worker-1", [sys.executable, "-m", "minicloud", "--worker"], env)

`child` starts a process and hands out its output as lines, `parent` asks the kernel for a signal when the
parent of this process dies.
"""
