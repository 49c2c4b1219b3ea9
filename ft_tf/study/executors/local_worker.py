"""A worker process: python -m ft_tf.study.executors.local_worker PIPE THREADS."""

import os
import pickle
import queue
import sys
import threading
from multiprocessing.connection import Connection

from ft_tf._compat import set_threads
from ft_tf.study.executors.work import perform, portable, seldom


def _listen(connection: Connection, inbox: "queue.SimpleQueue[bytes]") -> None:
    """Passes tasks on; when the other end closes, this process ends in the middle of its work."""
    while True:
        try:
            inbox.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


def main(pipe: int, threads: int) -> None:
    """Does tasks until the pipe closes.

    That can come out here too, where the listener has not ended the process yet: quietly, since
    whoever might read of it is gone, or ends this worker.
    """
    try:
        _work(Connection(pipe), threads)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _work(connection: Connection, threads: int) -> None:
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    set_threads(threads)
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    connection.send(("ready", None))
    report = seldom(lambda share: connection.send(("share", share)))
    while True:
        try:
            task, again = pickle.loads(inbox.get())
        except Exception as error:
            connection.send(("error", portable(error)))
            continue
        connection.send(perform(task, report, again=again))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
