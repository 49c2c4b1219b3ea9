"""What the fuzzer draws: public functions with right and wrong arguments, and how a call ended.

Every parameter of a public function has a name, and every name has a `Kind`: values that are right,
and values that are wrong wherever that name is used. A call with one wrong value must be refused.
"""

import dataclasses
import functools
import importlib
import inspect
import math
import types
import typing
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

import ft_tf
from ft_tf import errors
from ft_tf._compat import keras

NAN, INF = math.nan, math.inf
OUTCOMES = Counter()
"""How all calls of this process ended."""

PARTS = (
    "architectures",
    "attacks",
    "data",
    "faults",
    "intervals",
    "metrics",
    "models",
    "privacy",
    "privacy.audit",
    "privacy.f_dp_audit",
    "privacy.membership",
    "records",
    "report",
    "study",
    "training",
)
NOT_CALLED = {
    "returned by the library": (
        "attacks.AttackResult",
        "attacks.Comparison",
        "data.Dataset",
        "data.ImageSpec",
        "faults.CampaignPlan",
        "faults.CurveFigures",
        "faults.FailureRate",
        "faults.FirstOrder",
        "faults.FaultsByAttacks",
        "faults.Injection",
        "faults.WorstCase",
        "intervals.Allocation",
        "intervals.Estimate",
        "intervals.Interval",
        "intervals.NetworkMean",
        "intervals.VarianceComponents",
        "metrics.ParameterSpread",
        "models.Ending",
        "models.TFLiteModel",
        "privacy.Account",
        "privacy.GapBounds",
        "privacy.GridError",
        "privacy.PrivacyCost",
        "privacy.PrivacyLoss",
        "privacy.TradeOff",
        "privacy.audit.Audit",
        "privacy.membership.MembershipInference",
        "report.Answer",
        "report.Study",
        "architectures.Architecture",
        "architectures.LayerMaker",
    ),
    "parts of a record, which tests/records reads": ("records.*",),
    "extended by classes and functions of the caller": (
        "architectures.register",
        "architectures.CountedDropout",
        "faults.FaultModel",
        "faults.Protection",
        "faults.register_protection",
        "faults.StorageFormat",
        "faults.register_format",
        "report.Column",
        "report.Exhibit",
        "report.Plot",
        "report.register",
        "study.DataSource",
        "study.register",
    ),
    "changes the model that it is given": ("faults.limit_weights",),
    "in graphs, on tensors that the library has checked": (
        "attacks.kl_attack",
        "attacks.kl_divergence",
        "attacks.start_noise",
    ),
    "of whole runs, which tests/experiments gives wrong flags": (
        "study.check_fits",
        "study.directory_of",
        "study.limited",
        "study.run",
        "study.summary",
        "faults.FaultWrapper",
        "report.build",
        "report.fill_readme",
        "report.render_latex",
        "report.render_terminal",
        "report.render_answer",
    ),
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a parameter may be: values, or functions that make them; the first one is the usual."""

    right: tuple
    wrong: tuple


class Thing:
    """An object that nothing is made for."""

    def __repr__(self):
        return "line\nline"


LONG, HUGE = "x" * 5000, 10**5000
NO_NUMBER = (
    "1",
    LONG,
    (1.0,),
    [],
    {},
    NAN,
    INF,
    -INF,
    HUGE,
    1 + 2j,
    True,
    Thing(),
    np.zeros((3, 3)),
    np.nan,
)
NO_TEXT = ("", "none such", LONG, 1, 1.0, (), ["a"], {}, np.zeros((2, 2)), Thing(), b"a")
NO_PATH = ("a\0b", LONG, "d/" * 3000, "\ud800", 3, 1.5, [], Thing(), b"a")
WORDS = ("1", LONG, (1.0,), [], {}, None, Thing(), np.zeros((3, 3)))
NO_INTEGER = (*NO_NUMBER, 1.5, 0.5, np.float32(1))


def number(*right, wrong=()):
    return Kind(right, (*NO_NUMBER, *wrong))


def integer(*right, wrong=()):
    return Kind(right, (*NO_INTEGER, *wrong))


def choice(*right):
    return Kind(right, NO_TEXT)


COUNT_WRONG = (0, -1, -(10**30))
positive = functools.partial(number, wrong=(0, 0.0, -1, -1e-300))
non_negative = functools.partial(number, wrong=(-1, -1e-300, -1e300))
probability = functools.partial(number, wrong=(0, 1, -0.1, 1.1, 1e300))
fraction = functools.partial(number, wrong=(-0.1, 1.1, -1, 2, 1e300))
count = functools.partial(integer, wrong=COUNT_WRONG)
seed = functools.partial(integer, wrong=(-1, -(10**30)))

RNG = np.random.default_rng(0)
X = RNG.random((12, 4), np.float32)
IMAGES = RNG.random((12, 4, 4, 1), np.float32)
Y = np.arange(12) % 3


@functools.cache
def model(name="usual"):
    """Models by name; those of one name are one object, whose compiled passes are kept."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    if name in ("usual", "second"):
        return keras.Sequential(
            [keras.Input((4,)), layers.Dense(5, "relu"), layers.Dense(3, name=name)]
        )
    if name == "unbuilt":
        return keras.Sequential([layers.Dense(3)])
    if name == "two inputs":
        one, two = keras.Input((4,)), keras.Input((4,))
        return keras.Model([one, two], layers.Dense(3)(layers.Concatenate()([one, two])))
    if name == "two outputs":
        inputs = keras.Input((4,))
        return keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(3)(inputs)])
    if name == "strings":
        words = layers.StringLookup(vocabulary=["a", "b"])
        return keras.Sequential(
            [
                keras.Input((4,), dtype="string"),
                words,
                layers.Embedding(4, 2),
                layers.Flatten(),
                layers.Dense(3),
            ]
        )
    assert name == "three axes"
    return keras.Sequential([keras.Input((4,)), layers.Reshape((2, 2)), layers.Dense(3)])


class Lazy:
    """A value that is made when it is first drawn."""

    def __init__(self, make, *arguments):
        self.make, self.arguments = make, arguments

    def __repr__(self):
        return f"{self.make.__name__}{self.arguments}"


def value_of(drawn):
    return drawn.make(*drawn.arguments) if isinstance(drawn, Lazy) else drawn


NO_MODEL = (
    None,
    "model",
    3,
    [],
    Thing(),
    keras.Model,
    Lazy(model, "unbuilt"),
    Lazy(model, "two inputs"),
    Lazy(model, "two outputs"),
    Lazy(model, "strings"),
    Lazy(model, "three axes"),
)
NO_ARRAY = (
    None,
    "x",
    3,
    1.5,
    [],
    {},
    Thing(),
    X[0],
    X[:, :2],
    X[:0],
    X[..., None],
    X.astype(str),
    X.astype(object),
    [[1.0], [1.0, 2.0]],
    X.astype(complex),
    np.zeros((0, 4)),
)
NO_LABELS = (
    None,
    "y",
    3,
    [],
    {},
    Thing(),
    Y[:5],
    Y[:0],
    Y[:, None],
    Y - 1,
    Y + 1,
    Y.astype(str),
    Y / 2,
    np.full(12, NAN),
    np.eye(3)[Y],
    10**12 + Y,
)
NO_NUMBERS = (
    None,
    "x",
    3,
    [],
    {},
    Thing(),
    [NAN],
    [0.5, NAN, 0.5],
    [0.1, INF],
    ["a"],
    [None],
    [[0.1, 0.2], [0.3]],
    [1 + 2j, 1.0],
)
MODEL = Kind((Lazy(model),), NO_MODEL)
SECOND = Kind((Lazy(model, "second"),), NO_MODEL)
ARRAY = Kind((X,), NO_ARRAY)
LABELS = Kind((Y,), NO_LABELS)
NUMBERS = Kind(([0.2, 0.5, 0.4], np.array([0.1, 0.3]), (0.5, 0.5, 0.5)), NO_NUMBERS)


@functools.cache
def frame(name="usual"):
    """Rows of a campaign."""
    options = {"target": "weights", "rates": [0, 0.5, 0.9], "trials": 3, "seed": 0}
    return ft_tf.faults.sweep(model(), X, Y, **options)


@functools.cache
def prediction():
    options = {"target": "weights", "rates": [0.1], "trials": 2, "seed": 0}
    return ft_tf.faults.compare_with_trials(model(), X[:2], **options)


@functools.cache
def cost():
    return ft_tf.privacy.privacy_cost(
        noise_multiplier=1.0, sampling_probability=1.0, steps=3, delta=1e-5
    )


@functools.cache
def networks():
    return [ft_tf.intervals.network_mean([{0: 1.0, 1: 3.0 + k}]) for k in range(3)]


PHASE = ft_tf.privacy.Phase(1.0, 1.0, 3)
NO_FRAME = (None, "x", 3, [], pd.DataFrame(), pd.DataFrame({"rate": [1]}), Thing(), X)
FRAME = Kind((Lazy(frame),), NO_FRAME)
NO_OBJECT = (None, "x", 3, [], Thing())
COST = Kind((Lazy(cost),), NO_OBJECT)
BOOLS = Kind(([True, False, True],), (None, "x", 3, [], Thing(), [[True]], ["a", "b", "c"]))
BOUNDS = Kind(
    ((0.0, 1.0), (-1, 2)),
    ("01", 1, (), (1,), (1, 0), (0, 0), (NAN, 1), (0, INF), ("0", "1"), Thing()),
)

KINDS = {
    # numbers
    "delta": probability(1e-5, 0.1),
    "level": probability(0.95, 0.5),
    "epsilon": non_negative(0.1, 0),
    "target_epsilon": positive(1.0),
    "sampling_probability": number(1.0, 0.1, wrong=(0, -0.1, 1.1, 1e-300, 1e300)),
    "noise_multiplier": non_negative(1.0, 0.5, 0),
    "l2_norm_clip": positive(1.0),
    "weight_decay": non_negative(0.0, 1e-3),
    "l2": non_negative(0.0, 0.1),
    "beta": non_negative(1.0, 0),
    "step_size": non_negative(0.1),
    "start_noise": non_negative(1e-3),
    "rate": fraction(0.5, 0, 1),
    "dropout": fraction(0.0, 0.5),
    "half_width": positive(0.05, 0.3),
    "margin": positive(0.2, 0.3, wrong=(0, -1, 0.51, 200)),
    "confidence": probability(0.95, 0.5),
    "budget": Kind(
        ("1 h", "1 day", 60), ("soon", "1 parsec", "-1 s", "", -1, 0, NAN, INF, [], Thing())
    ),
    "accuracy_loss": fraction(0.01),
    "target_accuracy": fraction(0.5, 0),
    "stratum_trials": seed(0, 1),
    "most_bits": count(2),
    "candidates": count(2),
    "failure": choice("image", "any_image", "accuracy"),
    "noise": non_negative(0.1),
    "sigma": non_negative(0.1),
    "value": number(0.0, -1.5),
    "scale": positive(0.1, 2.0),
    "decay": fraction(0.9),
    "start": fraction(0.5),
    "false_positive_rate": fraction(0.1),
    "train_accuracy": fraction(0.9),
    "test_accuracy": fraction(0.8),
    "further_variance": non_negative(0.0, 1.0),
    "variance": non_negative(0.01),
    "pilot_variance": non_negative(0.01),
    "cost_per_trial": non_negative(1.0),
    "cost_per_image": positive(0.1),
    "low": Kind((1.0, NAN), WORDS),
    "high": Kind((9.0, NAN), WORDS),
    "smallest": positive(5.0),
    "fault_seed": seed(0),
    "fault_trials": count(2),
    "fault_images": seed(0),
    "attack_steps": count(2),
    "apgd_steps": count(2),
    "attack_images": count(3),
    "layer_rate": fraction(0.0, 0.5),
    "attack_epsilon": non_negative(0.1),
    "epochs": count(1),
    "learning_rate": positive(0.1),
    "fault_aware_rate": fraction(0.1),
    "train_limit": seed(0),
    "test_limit": seed(0),
    "holdout": seed(0),
    "stop_at_test_accuracy": fraction(0.0),
    "momentum": non_negative(0.0, 0.9),
    # integers
    "seed": seed(0, 7),
    "trial": seed(0, 3),
    "noise_seed": seed(1, 0),
    "trials": count(2, 1),
    "batch_size": count(5, 1000),
    "num_steps": count(2),
    "steps": count(3, 10),
    "sessions": count(1),
    "restarts": count(1, 2),
    "targets": count(2, 1),
    "queries": count(3),
    "examples": count(12),
    "passes": count(3),
    "runs": count(6, 4),
    "bins": count(5),
    "classes": integer(3, wrong=(1, 0, -1)),
    "images_per_trial": count(5),
    "images": count(12),
    "pilot_trials": integer(2, wrong=(1, 0, -1)),
    "successes": seed(1, 0),
    "n_test": count(10),
    "resolution": count(101),
    "canaries": count(8),
    "guesses": count(2),
    "right": seed(1),
    "count": count(4),
    "flips": count(1, 2),
    "most": count(3),
    "physical_batch_size": count(4),
    "power": integer(2, -1),
    "num_examples": count(12),
    "counted_passes": count(2),
    "pass_offset": seed(0),
    # choices
    "target": choice("weights", "units"),
    "clipping": choice("flat", "automatic"),
    "strategy": choice("none", "mirrored"),
    "allocation": choice("model", "layer", "bernoulli"),
    "distance": choice("l_inf", "l_2"),
    "norm": choice("l_inf", "l_2"),
    "loss": choice("cross_entropy", "margin"),
    "attack": choice("fgsm", "pgd"),
    "version": choice("standard"),
    "sampling": choice("shuffle", "poisson"),
    "engine": choice("fast"),
    "accountant": choice("paper", "shuffled", "pld"),
    "optimizer": choice("sgd"),
    "storage": choice("int8", "float32"),
    "parameters": choice("kernels"),
    "units": choice("channels", "positions"),
    "precision": choice("float32"),
    "source": choice("embedded-sample"),
    "method": choice("anytime", "stein"),
    # structures
    "model": MODEL,
    "first": MODEL,
    "second": SECOND,
    "source_model": MODEL,
    "target_model": SECOND,
    "x": ARRAY,
    "y": LABELS,
    "bounds": BOUNDS,
    "values": NUMBERS,
    "frame": FRAME,
    "rates": Kind(
        ([0, 0.5], (0.1,)), (0.5, "0.5", [], [1.5], [-1], [NAN], ["a"], [None], Thing(), [True])
    ),
    "cost": COST,
    "events": Kind(
        ([ft_tf.privacy.PrivacyEvent(1.1, "poisson", 100, 50, 3, False)],),
        (None, 3, [], [3], Thing()),
    ),
    "phases": Kind(([PHASE],), (None, 3, [3], "x", Thing())),
    "included": BOOLS,
    "scores": Kind(([0.1, 0.5, 0.2],), NO_NUMBERS),
    "parameters_": ARRAY,
}


def outcome_of(call, *, must_refuse, name=""):
    """How a call ended: "answer" or "refused"; raises AssertionError for everything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = call()
    except errors.FtTfError as error:
        text = str(error)
        assert len(text.splitlines()) == 1, f"several lines: {text}"
        assert len(text) < 2000, f"a very long line: {text[:200]}"
        assert text.isprintable(), f"characters that no terminal shows: {text!r}"
        if type(error) is errors.ArgumentError:
            assert name in text or any(word in text for word in ("=", "shape", "dtype")), (
                f"{name} is not named: {text}"
            )
        OUTCOMES[f"refused, {type(error).__name__}"] += 1
        return "refused"
    assert not must_refuse, f"silent: {str(result)[:200]!r}"
    OUTCOMES["answer"] += 1
    return result


def any_of(*right, wrong=NO_OBJECT):
    return Kind(right, wrong)


FLOATS = tuple(v for v in NO_NUMBERS if not (isinstance(v, list) and INF in v))
NETWORKS = any_of(Lazy(networks), wrong=(None, "x", 3, [], [3], Thing()))
OVERRIDES = {
    **{
        f"intervals.{name}.{part}": NUMBERS
        for name in ("difference", "welch")
        for part in ("first", "second")
    },
    **{f"intervals.paired_proportions.{part}": BOOLS for part in ("first", "second")},
    **{f"faults.paired_difference.{part}": FRAME for part in ("first", "second")},
    **{f"intervals.{name}.networks": NETWORKS for name in ("over_networks", "mean_of_population")},
    **{
        f"intervals.{name}.values": any_of([1.0, 3.0], wrong=NO_NUMBERS)
        for name in ("random_effects", "paule_mandel")
    },
    "intervals.with_borrowed_spread.networks": any_of(
        Lazy(networks), wrong=(None, "x", 3, [3], Thing())
    ),
    "intervals.has_spread.values": Kind(
        ([0.2, 0.5],), (None, "x", 3, {}, Thing(), ["a"], [NAN], [[0.1, 0.2], [0.3]])
    ),
    "intervals.network_mean.settings": any_of(
        [{0: 1.0, 1: 3.0}], wrong=(None, "x", 3, [], [{}], [3], [{0: "a"}], [{0: NAN}], Thing())
    ),
    "intervals.outcome.per_network": any_of((), wrong=(3, [3], "x", Thing())),
    "intervals.over_seeds.accuracies": any_of(
        [[0.7, 0.9], [0.8]], wrong=(None, "x", 3, [], [[]], [["a"]], [[NAN]], Thing())
    ),
    "intervals.allocate.components": any_of(ft_tf.intervals.VarianceComponents(0.01, 0.2, 100)),
    "intervals.simultaneous.curves": any_of(
        RNG.random((4, 3)), wrong=(*NO_NUMBERS, np.full((4, 3), NAN), np.zeros((2, 3)), np.zeros(3))
    ),
    "attacks.compare.epsilon": positive(0.1, wrong=(0, -1, 3)),
    "attacks.compare.model": MODEL,
    "attacks.apgd.loss": choice("ensemble", "cross_entropy"),
    "attacks.check_labels.classes": integer(3, wrong=()),
    "attacks.check_logits_model.model": Kind(
        (Lazy(model),), tuple(m for m in NO_MODEL if "strings" not in repr(m))
    ),
    "attacks.check_images.x": Kind(
        (X,),
        tuple(
            v
            for v in NO_ARRAY
            if not (isinstance(v, np.ndarray) and v.shape in ((12, 2), (12, 4, 1)))
        ),
    ),
    "data.load.name": choice("circles", "fashion_mnist"),
    "data.load.source": Kind((None,), NO_TEXT[1:]),
    "data.how_to_get.name": choice("cifar10"),
    "data.from_arrays.kind": choice("images"),
    "data.from_arrays.name": any_of("own", wrong=(None, 3, [], LONG, "", "a/b", Thing())),
    "data.from_arrays.source": any_of("own:1", wrong=(None, 3, [], Thing())),
    **{
        f"data.from_arrays.x_{split}": Kind((IMAGES,), (*NO_ARRAY, IMAGES * 300, IMAGES * NAN))
        for split in ("train", "test")
    },
    **{f"data.from_arrays.y_{split}": LABELS for split in ("train", "test")},
    "data.check_labels.num_classes": count(3),
    "faults.StuckAt.value": number(0.0, -1.5),
    "faults.Select.parameters": choice("all", "kernels", "biases"),
    "faults.Select.layers": any_of(None, ("usual",), wrong=("usual", 3, [3], Thing())),
    **{
        f"faults.{name}.layers": any_of(None, ("usual",), "usual", wrong=(3, [3], Thing()))
        for name in ("Parity", "Secded", "Triplication")
    },
    **{
        f"faults.{name}.{option}": kind
        for name in ("RangeRestriction", "WeightClipping")
        for option, kind in {
            "outside": choice("clip", "zero"),
            "slack": non_negative(0.0, 0.5),
            "output_layer": any_of(False, True, wrong=NO_OBJECT),
        }.items()
    },
    "faults.PerLayer.faults": any_of(
        {"*": ft_tf.faults.StuckAt(0.0)},
        (("units:*", ft_tf.faults.StuckAt(1.0)),),
        wrong=(*NO_OBJECT, {}, {"*": 3}, {3: ft_tf.faults.StuckAt(0.0)}, ["*"], [("*",)]),
    ),
    "faults.lost_rate.points": probability(0.01, 0.5),
    "faults.Protected.fault": any_of(ft_tf.faults.StuckAt(0.0), wrong=NO_OBJECT),
    "faults.Protected.protection": any_of(ft_tf.faults.Parity(), wrong=NO_OBJECT),
    "faults.protect.protection": any_of("weight_clipping", wrong=(*NO_OBJECT, "ecc", "parity")),
    "faults.compare_protections.protections": any_of(
        ["parity"], wrong=("parity", 3, [3], ["ecc"], Thing())
    ),
    "faults.curve_figures.rates": any_of(
        (0.5, 0.9), wrong=((0.5,), 0.5, "01", (NAN, 1), (-1, 2), Thing())
    ),
    "faults.holds_up_to.comparison": Kind((Lazy(prediction),), NO_FRAME),
    "faults.format_of.name": choice("int8", "float32"),
    "faults.rescaled_spreads.powers": any_of(
        (-1, 1), wrong=((), 3, "x", (0.5,), (NAN,), (10**9,), Thing())
    ),
    "faults.prediction_rates.rates": any_of(
        [0, 0.1], wrong=(0.5, "0.5", [], [1.5], [NAN], ["a"], Thing())
    ),
    "faults.BitFlip.scale": positive(0.1),
    "faults.BitErrors.scale": positive(0.1),
    **{
        f"faults.{name}.bits": any_of(
            None,
            (0, 6),
            wrong=("01", 3, (), (1,), (3, 1), (-1, 2), (0, 99), (0.5, 2), (NAN, 1), Thing()),
        )
        for name in ("BitFlip", "BitErrors")
    },
    "metrics.parameter_spread.parameters": any_of(
        [X, Y], wrong=(None, "x", 3, [], ["a"], [X.astype(complex)], [np.full(3, NAN)], Thing())
    ),
    **{
        f"metrics.{name}.logits": Kind(
            (X[:, :3],),
            (
                None,
                "x",
                3,
                [],
                X[0],
                X.astype(str),
                Thing(),
                X[..., None],
                X[:, :0],
                X[:0],
                X.astype(complex),
            ),
        )
        for name in (
            "accuracy_from_logits",
            "calibration_error",
            "error_log_odds",
            "predicted_labels",
        )
    },
    **{
        f"metrics.{name}.labels": LABELS
        for name in ("accuracy_from_logits", "calibration_error", "error_log_odds")
    },
    "models.load.path": any_of(wrong=(*NO_PATH, "", "missing.keras", "/", ".")),
    **{
        f"models.{name}.model": Kind((Lazy(model),), (*NO_MODEL[:6],))
        for name in (
            "count_inputs",
            "ending_of",
            "logits_of",
            "output_shape_of",
            "with_fresh_weights",
            "check_built",
        )
    },
    **{
        f"models.{name}.model": Kind((Lazy(model),), (*NO_MODEL[:6],))
        for name in ("count_inputs", "ending_of", "output_shape_of")
    },
    "privacy.audit.audit_repeated.run": any_of(
        lambda included, i: float(included),
        wrong=(None, 3, "x", lambda a, b: NAN, lambda a, b: "x", Thing()),
    ),
    "privacy.audit.make_canaries.images": Kind(
        (IMAGES,), (*NO_ARRAY[:9], IMAGES[..., 0], IMAGES * NAN)
    ),
    "privacy.audit.make_canaries.labels": LABELS,
    "privacy.audit.make_canaries.kind": choice("mislabelled", "random", "pixel"),
    "privacy.audit.audit_one_run.guesses": count(2),
    "privacy.account_for.delta": probability(1e-5),
    "privacy.theorem_1.epsilon": non_negative(0.5, 0),
    "privacy.statement.sampling": choice("poisson", "shuffle", "unaccounted"),
    "privacy.to_record.sampling": choice("poisson", "shuffle", "unaccounted"),
    "privacy.check_engine.sampling": choice("shuffle", "poisson"),
    "privacy.PrivacyEvent.sampling": choice("poisson", "shuffle", "unknown"),
    **{
        f"privacy.membership.advantage_of_rule.{name}": BOOLS
        for name in ("on_members", "on_others")
    },
    **{
        f"privacy.membership.loss_threshold_attack.{name}": any_of(RNG.random(20), wrong=FLOATS)
        for name in ("member_log_odds", "other_log_odds")
    },
    "training.DPSGDModel.noise_multiplier": non_negative(1.0, 0, wrong=(-1, 1e300, 1e-300)),
    "training.DPSGDModel.averaging": any_of(None, wrong=("x", 3, [], Thing())),
    "training.NaturalModel.input_noise": any_of(None, wrong=("x", 3, [], Thing())),
    "training.NaturalModel.jacobian_penalty": any_of(None, wrong=("x", 3, [], Thing())),
    **{
        f"training.{name}.augmentation": any_of(None, wrong=("x", 3, [], Thing()))
        for name in ("NaturalModel", "TradesModel")
    },
    **{
        f"training.{name}.model": Kind((Lazy(model),), NO_MODEL[:6])
        for name in ("NaturalModel", "TradesModel")
    },
    "training.DPSGDModel.model": Kind((Lazy(model),), (*NO_MODEL[:7], NO_MODEL[8])),
    "study.register_own.data": any_of(wrong=(*NO_PATH, "", "missing.npz", "/", "tfds:")),
    "study.load_run.directory": any_of(
        wrong=(Path("missing"), Path(LONG), Path("a\0b"), "x", 3, None)
    ),
    "data.load_own.data": any_of(wrong=(*NO_PATH, "", "missing.npz", "/", "no:module")),
    "architectures.build.name": choice("circles_mlp"),
    "architectures.get.name": choice("circles_mlp"),
    "architectures.input_shape.name": choice("circles_mlp", "fmnist_dnn"),
    "architectures.build.input_shape": any_of(
        (2,), wrong=("x", 3, (0,), (-1,), ("a",), (1.5,), Thing())
    ),
    "architectures.build.classes": count(2),
    "architectures.build.normalization": any_of(
        (0.5, 2.0), wrong=("x", 3, (1,), (0, 0), (0, -1), (NAN, 1), Thing())
    ),
    "study.RunConfig.dataset": choice("fashion_mnist"),
    "study.RunConfig.architecture": choice("fmnist_dnn"),
    "study.RunConfig.algorithm": any_of(ft_tf.study.Natural()),
    "study.RunConfig.momentum": non_negative(0.0, 0.9),
}
OVERRIDES |= {
    "privacy.noise_multiplier_for_advantage.max_advantage": probability(0.2),
    "privacy.noise_multiplier_for_advantage.accountant": choice("pld", "shuffled"),
    "privacy.trade_off.sampling": choice("shuffle", "poisson"),
    "privacy.f_dp_audit.f_dp_p_value.curve": Kind((lambda rate: 1 - rate,), (None, 3, "x", [])),
    "privacy.f_dp_audit.audit_one_run_f_dp.guesses": count(2),
    **{
        f"privacy.membership.rmia_scores.{name}": Kind((value,), FLOATS)
        for name, value in {
            "target": RNG.random(4),
            "references": RNG.random((2, 4)),
            "population_target": RNG.random(5),
            "population_references": RNG.random((2, 5)),
        }.items()
    },
    "privacy.membership.rmia_scores.gamma": positive(2.0),
    "privacy.membership.rmia_scores.a": fraction(0.3),
    "faults.summarize.half_width": positive(0.05, 0.3, wrong=(0, -1, 0.51, 200)),
    "intervals.holm.p_values": any_of(
        [0.01, NAN, 0.03], wrong=(None, "x", 3, ["a"], [1.5], [-1], [None], Thing())
    ),
    **{
        f"intervals.{name}.variances": any_of([0.0, 1.0], wrong=(*NO_NUMBERS, [-1.0, 1.0], [1.0]))
        for name in ("random_effects", "paule_mandel")
    },
    "intervals.stein.accuracies": any_of([0.2, 0.5, 0.4], wrong=NO_NUMBERS),
    "intervals.variance_components.accuracies": any_of([0.2, 0.5, 0.4], wrong=NO_NUMBERS),
    "intervals.proportion.trials": count(2),
    "intervals.random_effects.values": any_of([1.0, 3.0], wrong=NO_NUMBERS),
    "intervals.variance_components.images_per_trial": integer(2, wrong=(1, 0, -1)),
    "privacy.theorem_1.epsilon": Kind((0.5, 0, INF), (*(v for v in NO_NUMBER if v is not INF), -1)),
    "privacy.theorem_1.delta": fraction(1e-5, 0),
    "privacy.membership.allowed_true_positive_rate.delta": fraction(1e-5, 0),
    "privacy.audit.one_run_p_value.delta": fraction(0.0),
    "privacy.audit.audit_one_run.delta": fraction(0.0),
    "privacy.audit.audit_repeated.delta": fraction(0.0),
    "privacy.PrivacyEvent.steps": seed(3, 0),
    "privacy.PrivacyEvent.noise_multiplier": non_negative(1.0, 0),
    **{
        f"privacy.{name}.noise_multiplier": non_negative(1.0, 0, wrong=(-1, 1e300, 1e-300))
        for name in ("Phase", "privacy_cost", "PrivacyEvent")
    },
    "privacy.Phase.steps": integer(3, 0, wrong=(-1, 10**12)),
    "privacy.privacy_cost.steps": integer(3, wrong=(-1, 10**12)),
    "attacks.compare.epsilon": non_negative(0.1, wrong=(-1, 3)),
    "faults.prediction_rates.model": any_of(Lazy(model), wrong=NO_MODEL[:7]),
    **{
        f"faults.{name}.model": Kind((Lazy(model),), NO_MODEL[:7])
        for name in (
            "find_sites",
            "inject",
            "make_plan",
            "propagation",
            "protect",
            "wrap",
            "unwrap",
        )
    },
    **{
        f"faults.same_shape.{name}": Kind((Lazy(model),), NO_MODEL[:7])
        for name in ("first", "second")
    },
    "models.check_input_shape.model": Kind((Lazy(model),), (*NO_MODEL[:8], NO_MODEL[9])),
    "models.check_input_shape.x": Kind(
        (X, X[:0]),
        (
            None,
            "x",
            3,
            1.5,
            [],
            {},
            Thing(),
            X[0],
            X[:, :2],
            X[..., None],
            X.astype(str),
            X.astype(object),
        ),
    ),
    "data.from_arrays.name": any_of(
        "own", "my data", wrong=(None, 3, [], LONG, "", "a/b", "a\0b", Thing())
    ),
    **{
        f"data.from_arrays.y_{split}": Kind(
            (Y,),
            tuple(
                v
                for v in NO_LABELS
                if not (
                    isinstance(v, np.ndarray)
                    and v.dtype.kind in "iu"
                    and v.shape == (12,)
                    and v.min() == 1
                )
            ),
        )
        for split in ("train", "test")
    },
    "privacy.audit.make_canaries.labels": Kind(
        (Y,),
        tuple(
            v
            for v in NO_LABELS
            if not (
                isinstance(v, np.ndarray)
                and v.dtype.kind in "iu"
                and v.shape == (12,)
                and v.min() > 0
            )
        ),
    ),
    "data.load.data_dir": any_of(None, wrong=NO_PATH),
    "data.load_own.name": any_of(None, wrong=()),
    "study.RunConfig.stop_at_holdout_accuracy": fraction(0.0),
    "study.RunConfig.stop_at_train_accuracy": fraction(0.0),
    "study.Evaluation.attack_images": seed(3),
    "faults.summarize.method": Kind(("student", "band"), NO_TEXT),
    "faults.rescaled.power": integer(2, -1, wrong=(1000, -1000)),
    "faults.rescaled_spreads.x": Kind((X,), (*NO_ARRAY[:12], X * NAN)),
    **{
        f"faults.{name}.trials": Kind(
            (2, [0, 3]), (*NO_NUMBER, 1.5, 0, -1, 10**15, [1.5], [0, 0], [-1])
        )
        for name in ("sweep", "compare", "layer_vulnerability")
    },
    "faults.compare_with_trials.trials": integer(2, wrong=(1, 0, -1)),
    "attacks.check_labels.examples": integer(12, wrong=(3, 0)),
    **{
        f"privacy.{name}.noise_seed": any_of(None, 3, wrong=("x", [], 1.5, Thing()))
        for name in ("check_engine", "statement", "to_record")
    },
    "privacy.check_engine.optimizer": any_of("sgd", wrong=(None, 3, [], Thing())),
    "privacy.to_record.bounds": any_of(None, wrong=("x", 3, [], Thing())),
    "training.DPSGDModel.noise_seed": seed(1),
    **{
        f"privacy.{name}.clipping": any_of(
            ("flat", "adaptive"), wrong=(None, 3, "flat", ["median"], [3], Thing())
        )
        for name in ("statement", "to_record")
    },
    "privacy.PrivacyEvent.parts": any_of((), wrong=(None, 3, "x", ["a"], [3.0], Thing())),
    "faults.attack_under_faults.attacks": any_of(
        ["fgsm"], {"fgsm": {}}, wrong=(None, 3, "x", [], {}, ["frog"], [3], Thing())
    ),
    "intervals.BettingInterval.resolution": integer(101, wrong=(0, -1)),
}
REQUIRED = {"privacy.PrivacyEvent.seeded": False, "intervals.mean.unit": "trial"}
ALWAYS = {
    "faults.prediction_rates": {"target": "weights"},
    "faults.sweep": {"trials": 2},
    "faults.failure_rate": {"trials": 3},
    "faults.worst_case": {"most_bits": 2, "candidates": 2},
    "data.check_same_length": {"x": X, "y": Y},
    "data.check_labels": {"y": Y},
    "data.check_pixels": {"x": IMAGES},
    "data.fingerprint": {"x": X},
    # arguments that the usual call needs beside the required ones
    "training.DPSGDModel": {"noise_multiplier": 1.0},
    "faults.compare_protections": {
        "protections": ["parity"],
        "rates": [0.5],
        "trials": 2,
        "seed": 0,
    },
    "faults.BitFlip": {"storage": "int8"},
    "faults.BitErrors": {"storage": "int8"},
    "attacks.evaluate": {"sanity": False, "steps": 2},
    "attacks.compare": {"sanity": False, "steps": 2},
    "attacks.autoattack": {"num_steps": 2, "queries": 3},
    "attacks.apgd": {"num_steps": 2},
    "attacks.pgd": {"num_steps": 2},
    "attacks.transfer": {"num_steps": 2},
    "attacks.fab": {"num_steps": 2},
    "attacks.square": {"queries": 3},
    "intervals.stein": {"pilot_trials": 2},
    "architectures.build": {},
    "faults.GaussianNoise": {},
}


@functools.cache
def functions():
    """{dotted name: callable} of everything public that is called."""
    found = {}
    for part in PARTS:
        module = importlib.import_module(f"ft_tf.{part}")
        names = getattr(module, "__all__", None) or [
            name
            for name, thing in vars(module).items()
            if not name.startswith("_") and getattr(thing, "__module__", "") == module.__name__
        ]
        for name in names:
            thing = getattr(module, name)
            if callable(thing) and not isinstance(thing, types.UnionType):
                found[f"{part}.{name}"] = thing
    left_out = {name for names in NOT_CALLED.values() for name in names}
    return {
        name: thing
        for name, thing in found.items()
        if name not in left_out and f"{name.split('.')[0]}.*" not in left_out
    }


def parameters_of(name):
    """{parameter: (kind or None, whether it is required)}."""
    found = {}
    for parameter in inspect.signature(functions()[name]).parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        key = f"{name}.{parameter.name}"
        kind = OVERRIDES.get(key) or KINDS.get(parameter.name)
        found[parameter.name] = (kind, parameter.default)
    return found


def usual_arguments(name):
    """The usual call: every required argument at its first right value."""
    arguments = dict(ALWAYS.get(name, {}))
    for parameter, (kind, default) in parameters_of(name).items():
        if default is inspect.Parameter.empty and parameter not in arguments:
            arguments[parameter] = (
                kind.right[0]
                if kind and kind.right
                else REQUIRED.get(f"{name}.{parameter}", "unit")
            )
    return arguments


def call(name, arguments):
    """Calls a public function with drawn arguments; a block of the library is entered and left."""
    function = functions()[name]
    made = {key: value_of(value) for key, value in arguments.items()}
    positional = [
        made.pop(parameter.name)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name in made
    ]
    result = function(*positional, **made)
    if isinstance(result, typing.ContextManager):
        with result as inner:
            return inner
    return result
