"""Helper that kills a process in the middle of a write."""

import os
import signal


def killed_while(atomic_write):
    """Enter the context in a child process, write half of the content, and kill the process."""
    process = os.fork()
    if process == 0:
        with atomic_write as partial:
            (partial / "half" if partial.is_dir() else partial).write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
