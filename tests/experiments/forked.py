"""Runs many command lines of the binaries from one process that has imported the library already.

Each command line runs in a fork of its own, so that absl's flags and the library's state are fresh;
importing TensorFlow for every one of them would take ten times as long.
"""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def run_all(commands, directory, *, parse_only=False):
    """Runs {name: argument list, module first} in `directory`; {name: (code, stdout, stderr)}.

    With `parse_only` the binaries parse their flags, print those that were set as JSON, and stop.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "commands.json").write_text(json.dumps(commands))
    done = subprocess.run(
        [sys.executable, __file__, *(["--parse_only"] if parse_only else [])],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    results = {}
    for name in commands:
        code = int((directory / f"{name}.code").read_text())
        texts = [(directory / f"{name}.{kind}").read_text() for kind in ("stdout", "stderr")]
        results[name] = (code, *texts)
    return results


def _child(name, arguments):
    for kind, stream in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(f"{name}.{kind}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), stream)
    parse_only = "--parse_only" in sys.argv
    sys.argv = arguments
    code = 0
    try:
        if parse_only:
            _stop_after_parsing()
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
    Path(f"{name}.code").write_text(str(code))
    os._exit(0)


def _stop_after_parsing():
    from absl import flags

    from experiments import _app

    def parse(main, define_flags, *, words=0, resumes=False):
        _app.define(define_flags)
        _app._parse(sys.argv, words)
        given = {name: flags.FLAGS[name] for name in flags.FLAGS}
        print(json.dumps({name: flag.value for name, flag in given.items() if flag.present}))

    _app.run = parse


def main():
    # All that the binaries import, but for their own modules: the forks find it imported.
    import ft_tf.assessment
    import ft_tf.attacks
    import ft_tf.report
    import ft_tf.study.distributed
    import ft_tf.training  # noqa: F401

    for name, arguments in json.loads(Path("commands.json").read_text()).items():
        child = os.fork()
        if child == 0:
            _child(name, arguments)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
