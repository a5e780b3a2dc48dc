"""Children forked from this process, which has imported everything."""

import os
import traceback


def begin(work, log):
    """Fork a child that works with its output in a log, and leaves without the parent's clean-up; its process id."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def in_a_child(work, log):
    """Work to the end, or to a signal; 0 or the signal.

    Raises:
        SystemExit: it failed by itself.
    """
    _, status = os.waitpid(begin(work, log), 0)
    return checked(status, log)


def checked(status, log):
    """The signal that ended a process, or 0; SystemExit where it failed by itself."""
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"a run failed by itself: see {log}")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
