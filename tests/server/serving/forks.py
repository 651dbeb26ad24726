"""Models that fork, and what the server holds for their children."""

from __future__ import annotations

from serving.server import TritonServer

# `in_child(work)` runs `work` in a forked child and gives what it returned; `start`, without waiting for it.
FORKS = """
def start(self, work):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = json.dumps(work())
        except BaseException as error:
            answer = json.dumps(repr(error))
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    return child, reading

def finish(self, started):
    child, reading = started
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else "it was killed"

def in_child(self, work):
    return self.finish(self.start(work))
"""

# What memory shared with a process, and the news of it, looks like in /proc.
_KINDS = ("memfd:", "eventfd", "pidfd", "socket:")


def held(server: TritonServer) -> tuple[int, int]:
    """Descriptors and mappings of the server that processes of models cost it."""
    targets = server.process.descriptors().values()
    return (
        sum(any(kind in target for kind in _KINDS) for target in targets),
        server.process.maps().count("memfd:"),
    )
