"""What a model of these tests has in its class to fork with."""

from __future__ import annotations

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
