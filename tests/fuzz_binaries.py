"""Runs command lines of the binaries one by one, each in a fork of a process that imported all.

Lines of JSON on stdin, [module, flag, ...]; for each a line on stdout: [code, stdout, stderr].
"""

import json
import os
import resource
import runpy
import signal
import sys
import tempfile

SECONDS, FILE_SIZE = 60, 1 << 28


def run(arguments):
    """The exit code, stdout and stderr of one command line."""
    streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 (closed when forgotten)
    child = os.fork()
    if child == 0:
        for number, stream in enumerate(streams, 1):
            os.dup2(stream.fileno(), number)
        os._exit(_child(arguments))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for stream in streams:
        stream.seek(0)
        texts.append(stream.read().decode(errors="replace"))
    return [code, *texts]


def _child(arguments):
    code = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    signal.alarm(SECONDS)
    sys.argv = list(arguments)
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def main():
    """Answers until stdin ends."""
    import ft_tf.report
    import ft_tf.study.distributed  # noqa: F401
    from experiments import _app, presets  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        json.dump(run(json.loads(line)), answers)
        answers.write("\n")
        answers.flush()


if __name__ == "__main__":
    main()
