"""Runs command lines of the binaries that end at a named point, and then the same ones again.

    python crashing.py NAME.json     {name: {"arguments", "point", "how"}}; writes NAME.out.json

Each command line runs in a fork of a process that has imported TensorFlow: importing it for every
one would take most of the time. One whose workers end at the point runs by itself:

    CRASHING="POINT HOW" python crashing.py experiments.reproduce --workers=2 ...

Ways to end: "kill", "terminate" and "interrupt" send the signal; "full" lets every later write to a
file fail, as on a full disk; "torn" kills the process in the middle of the next write of more than
1,000 bytes. Of workers, "kill" and "full" strike the worker; the others the process that started
it, "orphan" with SIGKILL.
"""

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

SIGNALS = {
    "kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT,
    "orphan": signal.SIGKILL,
}  # fmt: skip
SECONDS, HUNG = 200, -signal.SIGALRM
DIED = Path("died")  # only the first process to come to the point is struck


def strike(how):
    try:
        DIED.touch(exist_ok=False)
    except FileExistsError:
        return
    if how in ("full", "torn"):
        if how == "torn":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        limit = 1000 if how == "torn" else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        return
    is_worker = __name__ == "__mp_main__"
    os.kill(os.getppid() if is_worker and how != "kill" else os.getpid(), SIGNALS[how])
    if is_worker:
        time.sleep(100)


def install(point, how):
    """Makes this process end at a point.

    A point is a function, looked up where its callers find it, and the call of it that is struck.
    """
    from ft_tf._compat import keras, tf
    from ft_tf.study import datasets, directory, execution, trainer

    execution._CHECKPOINT_SECONDS = 0.0  # these epochs are short: keep each

    def at(owner, name, *, matches=lambda *arguments: True, call=1, after=False):
        original, seen = getattr(owner, name), []

        def wrapped(*arguments, **options):
            result = original(*arguments, **options) if after else None
            if matches(*arguments):
                seen.append(None)
                if len(seen) == call:
                    strike(how)
            return result if after else original(*arguments, **options)

        setattr(owner, name, wrapped)

    def named(name):
        return lambda source, target: Path(target).name == name

    class InEpoch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if self.epoch == min(1, self.params["epochs"] - 1):
                strike(how)

    def fit(*arguments, callbacks, original=trainer.fit, **options):
        original(*arguments, callbacks=[*callbacks, InEpoch()], **options)

    if point == "start-up":
        at(datasets.DataSource, "load")
    elif point == "lock":
        import fcntl

        at(fcntl, "flock", after=True, matches=lambda file, flags: str(file.name).endswith(".lock"))
    elif point == "epoch":
        at(directory, "note_epoch_started", call=2)
    elif point == "mid-epoch":
        trainer.fit = fit
    elif point == "history":
        at(os, "replace", matches=named("history.csv"), call=2)
    elif point == "checkpoint":
        at(tf.train.CheckpointManager, "save", call=2)
    elif point == "checkpoint written":
        # Its files are there, the state that names it is not. Each save records the state twice.
        at(tf.train.CheckpointManager, "_record_state", call=3)
    elif point == "model":
        at(keras.Model, "save")
    elif point == "model written":
        at(os, "replace", matches=named("model.keras"))
    elif point == "recorded":
        at(os, "replace", matches=named("record.json"), after=True)
    elif point in ("config", "record", "report"):
        name = {"config": "config.json", "record": "record.json", "report": "report.html"}[point]
        at(os, "replace", matches=named(name))
    else:
        raise ValueError(point)


def run(arguments):
    """Runs a binary in this process as `python -m` does; returns its exit code."""
    from experiments import _app, _interrupts

    sys.argv = arguments
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    _interrupts.end_process()
    module = importlib.import_module(arguments[0])
    try:
        _app.run(module.main, module.define_flags, resumes=True)
    except SystemExit as error:
        return error.code or 0
    return 0


def in_a_fork(arguments, place, strikes=None):
    """(exit code or minus the signal, stdout, stderr)."""
    pipes = [os.pipe(), os.pipe()]  # a full disk is none for pipes
    child = os.fork()
    if child == 0:
        for number, (_, end) in enumerate(pipes, 1):
            os.dup2(end, number)
        code = 70
        signal.alarm(SECONDS)
        try:
            os.chdir(place)
            if strikes:
                install(*strikes)
            code = run(arguments)
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    texts = []
    for ours, theirs in pipes:
        os.close(theirs)
        with open(ours, encoding="utf-8") as file:
            texts.append(file.read())
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), *texts]


def main(path):
    import ft_tf.report
    import ft_tf.study
    import ft_tf.training  # noqa: F401 (the binaries themselves define flags, each in its own fork)

    results = {}
    for name, scenario in json.loads(path.read_text()).items():
        # TensorFlow's first call in a fork may hang, since threads of this process are missing
        # there: such a try says nothing. What hangs three times is a fault of ours.
        for _ in range(3):
            place = path.parent / name
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            strikes = scenario.get("point"), scenario.get("how")
            tries = [strikes, None] if strikes[0] else [None]
            results[name] = [in_a_fork(scenario["arguments"], place, one) for one in tries]
            if all(code != HUNG for code, *_ in results[name]):
                break
    path.with_suffix(".out.json").write_text(json.dumps(results))


if "CRASHING" in os.environ:
    install(*os.environ["CRASHING"].rsplit(maxsplit=1))  # workers import this file, too
if __name__ == "__main__":
    if sys.argv[1].endswith(".json"):
        main(Path(sys.argv[1]))
    else:
        sys.exit(run(sys.argv[1:]))
