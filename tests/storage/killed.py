"""What a process leaves that is killed while it writes."""

import os
import signal


def killed_while(writing):
    """Kill a child process within the context, in which it has written half."""
    process = os.fork()
    if process == 0:
        with writing as partial:
            (partial / "half" if partial.is_dir() else partial).write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
