"""Bad input to the binaries: one clear line that names the flag and the value, nothing written."""

import forked
import pytest

TRAIN = "experiments.train"
REPRODUCE = "experiments.reproduce"
FAULTS = "experiments.inject_faults"
ATTACK = "experiments.attack"

CASES = {
    "dataset": ([TRAIN, "--dataset=mnist"], "dataset='mnist'"),
    "architecture": ([TRAIN, "--architecture=vgg"], "architecture='vgg'"),
    "mismatch": ([TRAIN, "--architecture=cifar10_cnn"], "architecture='cifar10_cnn'"),
    "algorithm": ([TRAIN, "--algorithm=sgd"], "algorithm='sgd'"),
    "sigma": ([TRAIN, "--algorithm=additive_gaussian", "--sigma=-1"], "sigma=-1.0"),
    "epsilon": ([TRAIN, "--algorithm=trades", "--epsilon=-0.1"], "epsilon=-0.1"),
    "coefficient": ([TRAIN, "--algorithm=tikhonov", "--l2=-1"], "l2=-1.0"),
    "noise": ([TRAIN, "--algorithm=dpsgd", "--noise_multiplier=-2"], "noise_multiplier=-2.0"),
    "foreign": ([TRAIN, "--algorithm=natural", "--beta=2"], "beta=2.0 is not an option"),
    "number": ([TRAIN, "--epochs=many"], "epochs"),
    "unknown": ([TRAIN, "--epoch=3"], "epoch"),
    "word": ([TRAIN, "fast"], "'fast' is not a flag"),
    "batch": (
        [TRAIN, "--batch_size=6001", "--output_dir=written"],
        "batch_size=6001 must be at most the 6000",
    ),
    "data_dir": ([TRAIN, "--data_dir=/proc/nowhere"], "/proc/nowhere"),
    "unwritable": ([TRAIN, "--output_dir=/proc/nowhere"], "output_dir='/proc/nowhere"),
    "threads": ([TRAIN, "--threads=0"], "threads=0"),
    "circles": ([TRAIN, "--dataset=circles"], "dataset='circles' is trained with all replicates"),
    "flagfile": (
        [TRAIN, "--flagfile=none.flags"],
        "error: flagfile='none.flags' cannot be read (No",
    ),
    "prepare": (["experiments.prepare_data"], "--dataset is needed: fashion_mnist or"),
    "prepare_from": (["experiments.prepare_data", "--dataset=cifar10"], "error: --from is needed"),
    "attack_images": ([TRAIN, "--attack_images=0"], "attack_images=0"),
    "tables": ([REPRODUCE, "--tables=3,9"], "tables='9'"),
    "scale": ([REPRODUCE, "--scale=huge"], "scale='huge'"),
    "assignment": ([REPRODUCE, "--assignment=paper"], "assignment='paper'"),
    "only": ([REPRODUCE, "--tables=3", "--only=vgg"], "only='vgg' is in the name of no run"),
    "only_of_others": (  # other data is missing too, and is not the reason
        [REPRODUCE, "--scale=smoke", "--tables=4,8", "--only=vgg"],
        "error: only='vgg' is in the name of no run: give a part of a name, which are like fashion",
    ),
    "only_missing": (
        [REPRODUCE, "--tables=4,6,8", "--only=cifar10"],
        "error: nothing to run: Tables 4 and 6 not run: dataset='cifar10' is not in",
    ),
    "only_missing_of_two": (
        [REPRODUCE, "--tables=4,6,8", "--only=vgg,cifar10"],
        "error: nothing to run: Tables 4 and 6 not run: dataset='cifar10' is not in",
    ),
    "sample": (
        [REPRODUCE, "--scale=paper", "--tables=5,8"],
        "fault_images=2000 must be at most the 1000 test examples of embedded-sample:",
    ),
    "trades_precision_in_names": (  # in which mixed_bfloat16 stands by default
        [
            REPRODUCE,
            "--scale=paper",
            "--tables=3,4",
            "--trades_precision=float32",
            "--only=mixed_bfloat16",
        ],
        "error: only='mixed_bfloat16' is in the name of no run",
    ),
    "mixed_precision_by_default": (
        [REPRODUCE, "--scale=paper", "--tables=3,4", "--only=mixed_bfloat16"],
        "error: nothing to run: Table 4 not run: dataset='cifar10' is not in",
    ),
    "trades_precision": ([REPRODUCE, "--trades_precision=half"], "trades_precision='half'"),
    "seeds": ([REPRODUCE, "--seeds=0"], "seeds=0"),
    "executor": ([REPRODUCE, "--executor=threads"], "executor='threads'"),
    "workers": ([REPRODUCE, "--workers=0"], "workers=0"),
    "workers_of_none": (
        [REPRODUCE, "--executor=serial", "--workers=2"],
        "workers=2 is for executor=local or ray",
    ),
    "address": (
        [FAULTS, "--run=x", "--executor=local", "--ray_address=h:1"],
        "ray_address='h:1' is for executor=ray",
    ),
    "strategy": ([TRAIN, "--strategy=horovod"], "strategy='horovod'"),
    "strategy_dp": (
        [TRAIN, "--algorithm=dpsgd", "--strategy=multi_worker"],
        "strategy='multi_worker' cannot be used with DP-SGD",
    ),
    "strategy_faults": (
        [TRAIN, "--fault_aware_rate=0.1", "--strategy=mirrored"],
        "fault_aware_rate=0.1",
    ),
    "peers": ([TRAIN, "--strategy=multi_worker"], "needs TF_CONFIG"),
    "rate": ([FAULTS, "--run=x", "--rates=0,1.5"], "rates=1.5"),
    "rate_text": ([FAULTS, "--run=x", "--rates=half"], "rates='half'"),
    "target": ([FAULTS, "--run=x", "--target=bits"], "target='bits'"),
    "protections": ([FAULTS, "--run=x", "--protections=ecc"], "protection='ecc' must be one of"),
    "protected_units": (
        [FAULTS, "--run=x", "--protections=all", "--target=units"],
        "target='units' must be 'weights' with --protections",
    ),
    "value": ([FAULTS, "--run=x", "--fault=stuck_at"], "value=None"),
    "no_value": ([FAULTS, "--run=x", "--value=2"], "value=2.0 is not an option of"),
    "bits": ([FAULTS, "--run=x", "--fault=bit_flip", "--bits=sign"], "bits='sign'"),
    "wide_bits": ([FAULTS, "--run=x", "--fault=bit_flip", "--bits=30-40"], "bits=(30, 40)"),
    "method": ([FAULTS, "--run=x", "--method=anytime"], "method='anytime' is for --half_width"),
    "wide": ([FAULTS, "--run=x", "--half_width=200"], "half_width=200.0 must be in [0, 50]"),
    "many": (
        ["experiments.compute_epsilon", f"--n={10**24}", "--steps=1", "--noise_multiplier=1"],
        f"n={10**24} must be in [1, 1e+",
    ),
    "run": ([FAULTS, "--run=nothing_here"], "nothing_here"),
    "no_run": ([ATTACK], "--run"),
    "attack": ([ATTACK, "--run=x", "--attack=cw"], "attack='cw'"),
    "radius": ([ATTACK, "--run=x", "--epsilon=8/0"], "epsilon=8/0"),
    "benchmark": (["experiments.benchmark", "training"], "benchmark='training'"),
    "contenders": (
        ["experiments.benchmark", "dpsgd", "--contenders=plain,opacus"],
        "contenders='opacus'",
    ),
    "contenders_of": (
        ["experiments.benchmark", "trades", "--contenders=plain"],
        "contenders=plain goes with dpsgd only",
    ),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bad_input")
    found = forked.run_all({name: arguments for name, (arguments, _) in CASES.items()}, directory)
    return directory, found


@pytest.mark.parametrize("name", CASES)
def test_one_line_names_the_flag_and_the_value(results, name):
    _, found = results
    code, _, stderr = found[name]
    assert code == 2, stderr
    assert stderr.startswith("error: ")
    assert len(stderr.strip().splitlines()) == 1, stderr
    assert "ERROR" not in stderr  # of absl's own
    assert CASES[name][1] in stderr


def test_nothing_was_written(results):
    directory, _ = results
    names = {path.name.split(".")[0] for path in directory.iterdir()}
    assert names == {*CASES, "commands"}
