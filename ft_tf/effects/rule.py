"""The rule: what a claim's values say, by network and over networks, and the word for it."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from ft_tf import intervals
from ft_tf.effects import pairs as matched
from ft_tf.effects.findings import correlation, models
from ft_tf.effects.pairs import Measure, Pair, Pairs, by, network_of, networks_of
from ft_tf.effects.runs import Trained, trained
from ft_tf.intervals import Estimate, NetworkMean
from ft_tf.records import Record

LEVEL = 0.05
LOST, GAP, TAU = 5.0, 1.0, 0.1
"""Smallest effects of interest: points under faults, points of gap, Kendall's tau."""
OTHER_COLUMNS = (
    "algorithm", "measure", "estimate", "low", "high", "low_networks", "high_networks",
    "networks", "trainings",
)  # fmt: skip
DECIDED = ("supported", "contradicted")
NO_DIFFERENCE, INCONCLUSIVE = "no difference", "inconclusive"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a claim's forest plot: an effect with its 95% interval over seeds."""

    network: str
    label: str  # name of the setting; "" for the mean over the network's settings
    role: str  # "network", "counted" (a setting), "control", or "context" (not matched)
    estimate: float
    low: float  # NaN without an interval
    high: float
    trainings: int  # number of values behind it
    records: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper and what the records say of it; NaN where they say nothing."""

    id: str
    sentence: str
    measure: str  # what `estimate` is, with its unit
    sign: int  # 1 if a positive effect supports the claim, -1 if a negative one does
    smallest: float  # smallest effect of interest
    estimate: float = math.nan  # plain mean over networks
    low: float = math.nan  # 95% interval over trainings, the networks fixed
    high: float = math.nan
    low_networks: float = math.nan  # random effects: the mean over networks like these
    high_networks: float = math.nan
    low_other_network: float = math.nan  # prediction for one further network
    high_other_network: float = math.nan
    networks: int = 0
    trainings: int = 0  # number of matched values
    p: float = math.nan  # two-sided, of an effect of 0
    p_holm: float = math.nan  # after Holm's correction over the claims
    p_equivalence: float = math.nan  # of an effect of at least `smallest` in size
    p_equivalence_holm: float = math.nan
    word: str = INCONCLUSIVE  # or "supported", "contradicted", "no difference", "mixed"
    note: str = ""  # what a reader of the word should know
    smallest_network: float = math.nan  # smallest and largest effect of a network
    largest_network: float = math.nan
    rows: tuple[Row, ...] = ()  # the effect by network and setting

    @property
    def unit(self) -> str:
        """Unit of the effect: "points", or "" for Kendall's tau."""
        return "" if self.id == "premise" else "points"


_LOST = "accuracy lost at 10% stuck-at-0 weights"
_UNEQUAL = "without a partner within 1 point of test accuracy"
# fmt: off
_INPUT_NOISE = Claim("input_noise", "Small noise on the inputs narrows the gap",
                     "gap with small noise minus without at equal training accuracy, points",
                     -1, GAP)
_OF_RUNS: tuple[tuple[Claim, Callable[[Sequence[Trained]], Pairs], str], ...] = (
    (Claim("robust_tolerance", "Adversarial training lowers fault tolerance",
           f"{_LOST}, TRADES minus natural, points", 1, LOST),
     lambda runs: matched.at_equal_accuracy(runs, "trades", Trained.lost), _UNEQUAL),
    (Claim("dp_tolerance", "Differential privacy raises fault tolerance",
           f"{_LOST}, DP-SGD minus natural, points", -1, LOST),
     lambda runs: matched.at_equal_accuracy(runs, "dpsgd", Trained.lost), _UNEQUAL),
    (Claim("theorem_1", "The gap is bounded by Theorem 1", "bound minus gap, points", 1, GAP),
     matched.against_bound, "with a bound of 100 points or more"),
    (Claim("dp_gap", "Differential privacy narrows the gap",
           "gap, DP-SGD minus natural at equal test accuracy, points", -1, GAP),
     lambda runs: matched.at_equal_accuracy(runs, "dpsgd", lambda run: run.gap), _UNEQUAL),
    (Claim("robust_overfit", "Robust models overfit more",
           "gap, TRADES minus natural at equal training accuracy, points", 1, GAP),
     matched.at_equal_training, "whose accuracy no natural curve passes"),
    (Claim("more_epsilon", "A larger adversary, a larger gap",
           "gap, larger minus smaller radius at equal training accuracy, points", 1, GAP),
     matched.by_radius, "whose accuracy the other curve does not pass"),
    (Claim("robust_faults", "Robust models drop more at 50 to 90% faults",
           "drop from 50 to 90% stuck-at-0 weights, TRADES minus Tikhonov, points", 1, LOST),
     matched.as_in_figure_3, "at chance by 50% faults on a side"),
)
"""Claims on trained runs, where their values come from, and why comparisons are left out."""
_PREMISE = Claim("premise", "A smaller gap goes with more fault tolerance",
                 f"Kendall's tau of gap and {_LOST}", 1, TAU)
# fmt: on


def claims(records: Iterable[Record]) -> list[Claim]:
    """All nine claims, judged together."""
    records = list(records)
    runs = trained(records)
    noisy = matched.with_input_noise(records)
    found = [_estimated(_INPUT_NOISE, noisy, "of unequal training accuracy")]
    found += [_estimated(claim, pairs(runs), left_out) for claim, pairs, left_out in _OF_RUNS]
    found.append(_of_premise(runs))
    return _worded(found)


def _estimated(claim: Claim, found: Pairs, reason: str) -> tuple[Claim, list[Estimate]]:
    pairs, left_out = found
    counted = [pair for pair in pairs if pair.role == "counted"]
    networks = networks_of(counted)
    means = list(networks.values())
    borrowed = dict(zip(networks, intervals.with_borrowed_spread(means), strict=True))
    omitted = f"{left_out} left out, {reason}" if left_out else ""
    note = "; ".join(filter(None, _notes(pairs, omitted, borrowed)))
    rows = tuple(_rows(pairs, borrowed))
    claim = dataclasses.replace(claim, trainings=len(counted), note=note, rows=rows)
    if not networks:
        return claim, []
    studied = intervals.over_networks(means)
    claim = dataclasses.replace(
        claim,
        estimate=studied.value,
        low=studied.low,
        high=studied.high,
        p=studied.p,
        p_equivalence=studied.p_equivalence(claim.smallest),
    )
    estimates = [network.estimate for network in borrowed.values()]
    return _beyond(claim, estimates, intervals.mean_of_population(means)), estimates


def _beyond(claim: Claim, networks: Sequence[Estimate], population: Estimate) -> Claim:
    """Adds the range over networks, and what is said of networks that were not trained."""
    values = [network.value for network in networks]
    found = {"smallest_network": min(values), "largest_network": max(values)}
    if len(values) > 1:
        other = intervals.prediction(values, unit="network")
        found |= {"low_networks": population.low, "high_networks": population.high}
        found |= {"low_other_network": other.low, "high_other_network": other.high}
    return dataclasses.replace(claim, networks=len(values), **found)


def _rows(pairs: Sequence[Pair], networks: dict[str, NetworkMean]) -> Iterable[Row]:
    for name, mine in by(pairs, "network").items():
        if name in networks:
            found = networks[name].estimate
            count = networks[name].trainings
            yield Row(name, "", "network", found.value, found.low, found.high, count)
        for role in ("counted", "control", "context"):
            settings = by([pair for pair in mine if pair.role == role], "setting").values()
            yield from sorted(map(_of_setting, settings), key=lambda row: row.label)


def _of_setting(pairs: Sequence[Pair]) -> Row:
    first = pairs[0]
    found = network_of([dataclasses.replace(pair, setting="") for pair in pairs]).estimate
    names = tuple(dict.fromkeys(name for pair in pairs for name in pair.records))
    where = (first.network, first.label, first.role)
    return Row(*where, found.value, found.low, found.high, len(pairs), names)


def _notes(pairs: Sequence[Pair], omitted: str, networks: dict[str, NetworkMean]) -> Iterator[str]:
    counted = [pair for pair in pairs if pair.role == "counted"]
    context = [pair for pair in pairs if pair.role == "context"]
    if not counted:
        yield "no matched comparisons"
    if context and not counted:
        value = intervals.over_networks(list(networks_of(context).values())).value
        yield f"not matched, at the end of training: {value:+.1f} points"
    yield omitted
    borrowed = sum(network.is_borrowed for network in networks.values())
    if borrowed:
        yield f"{borrowed} of {len(networks)} networks with one seed and borrowed spread"
    elif networks and not any(network.freedom for network in networks.values()):
        yield "one seed: no interval"
    if any(pair.is_stopped_on_test for pair in counted):
        yield "partners were stopped on test images"


def _of_premise(runs: Sequence[Trained]) -> tuple[Claim, list[Estimate]]:
    found = correlation(models(runs))
    if not found.networks:
        return _PREMISE, []
    apart = correlation(models(runs, private=False))
    note = []
    if not math.isnan(found.partial):
        note.append(f"given test accuracy {found.partial:+.2f}")
    if apart.networks:
        by_network = sorted(network.tau for network in apart.networks)
        note.append(
            f"without DP-SGD {apart.tau:+.2f} [{apart.low:+.2f}, {apart.high:+.2f}], by network "
            f"{by_network[0]:+.2f} to {by_network[-1]:+.2f}"
        )
    tables = correlation(models(runs, of_plans=False))
    if tables.networks and tables.models < found.models:
        ends = f"[{tables.low:+.2f}, {tables.high:+.2f}]"
        note.append(
            f"over the {tables.models} models of Tables 4 to 8 alone {tables.tau:+.2f} {ends}"
        )
    claim = dataclasses.replace(
        _PREMISE,
        estimate=found.tau,
        low=found.low,
        high=found.high,
        trainings=found.models,
        p=found.p,
        p_equivalence=found.p_equivalence(TAU),
        note="; ".join(note),
        rows=tuple(
            Row(n.network, "", "network", n.tau, n.low, n.high, n.models) for n in found.networks
        ),
    )
    estimates = [network.estimate for network in found.networks]
    taus = [estimate.value for estimate in estimates]
    variances = [estimate.standard_error**2 for estimate in estimates]
    claim = _beyond(claim, estimates, intervals.random_effects(taus, variances))
    ends = ("low_networks", "high_networks", "low_other_network", "high_other_network")
    within = {name: float(np.clip(getattr(claim, name), -1, 1)) for name in ends}
    return dataclasses.replace(claim, **within), estimates


def _worded(found: Sequence[tuple[Claim, list[Estimate]]]) -> list[Claim]:
    corrected = intervals.holm([claim.p for claim, _ in found])
    equivalence = intervals.holm([claim.p_equivalence for claim, _ in found])
    worded = []
    for (claim, networks), p, p_same in zip(found, corrected, equivalence, strict=True):
        sign = claim.sign
        ends = sorted((sign * claim.low, sign * claim.high))
        turned = [dataclasses.replace(network, value=sign * network.value) for network in networks]
        word = intervals.outcome(*ends, claim.smallest, turned) if networks else INCONCLUSIVE
        if (word in DECIDED and not p <= LEVEL) or (word == NO_DIFFERENCE and not p_same <= LEVEL):
            word = INCONCLUSIVE
        worded.append(dataclasses.replace(claim, p_holm=p, p_equivalence_holm=p_same, word=word))
    return worded


def other_measures(records: Iterable[Record]) -> pd.DataFrame:
    """Other measures of fault tolerance at equal accuracy, a line per algorithm and measure.

    As in the claims: the run minus its stopped partner; without words.
    """
    runs = trained(records)
    measures: dict[str, Measure] = {
        "lost at 10% weights": Trained.lost,
        "lost at 1% weights": lambda run: run.lost(0.01),
        "lost at 10% units": lambda run: run.lost(target="units"),
        "normalized area, weights": Trained.normalized_area,
        "normalized area, units": lambda run: run.normalized_area("units"),
    }
    lines = []
    for name, (title, measure) in itertools.product(("dpsgd", "trades"), measures.items()):
        pairs, _ = matched.at_equal_accuracy(runs, name, measure)
        networks = list(networks_of([pair for pair in pairs if pair.role == "counted"]).values())
        if networks:
            found = intervals.over_networks(networks)
            population = intervals.mean_of_population(networks)
            line = (name, title, found.value, found.low, found.high, population.low)
            count = sum(network.trainings for network in networks)
            lines.append((*line, population.high, len(networks), count))
    return pd.DataFrame(lines, columns=list(OTHER_COLUMNS))


def claims_frame(claims: Iterable[Claim]) -> pd.DataFrame:
    """A line per claim: every field but its rows."""
    columns = [field.name for field in dataclasses.fields(Claim) if field.name != "rows"]
    return pd.DataFrame([vars(claim) for claim in claims], columns=columns)


def rows_frame(claims: Iterable[Claim]) -> pd.DataFrame:
    """A line per claim, network and setting: what the forest plots show."""
    columns = ["claim", *(field.name for field in dataclasses.fields(Row))]
    lines = [{"claim": claim.id, **vars(row)} for claim in claims for row in claim.rows]
    return pd.DataFrame(lines, columns=columns)
