"""Prints what a DP-SGD run costs in privacy, without TensorFlow and without any data.

python -m experiments.compute_epsilon                                    the paper's four rows
python -m experiments.compute_epsilon --noise_multiplier=1.1             one run
python -m experiments.compute_epsilon --target_epsilon=3                 the noise for a budget
python -m experiments.compute_epsilon --target_advantage=0.1             for an attack's advantage
python -m experiments.compute_epsilon --plot=tradeoff.png                what membership tests find
"""

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

from absl import flags

from experiments import _app, _terminal
from ft_tf import privacy, records
from ft_tf.checks import check_delta, check_positive, check_positive_integer, check_range
from ft_tf.errors import ArgumentError
from ft_tf.privacy.phases import MOST_EXAMPLES, MOST_STEPS, check_noise_multiplier
from ft_tf.privacy.tradeoff import ATTACK_FIGURES, claimed_curve

_PAPER_MULTIPLIERS = ("5", "1.1", "0.5", "0.05")
_PAPER_EPOCHS = 60

_CONTRACT = (
    "epsilon_paper", "order_paper", "epsilon_rdp", "epsilon_pld", "epsilon_shuffled", "delta",
    "steps", "sampling_probability", "theorem_1_as_printed", "gap_bound", "noise_multiplier",
    "warnings",
)  # fmt: skip
_BESIDE = (
    "epsilon_replace_one", "theorem_1_replace_one", "gap_bound_shuffled", "bound_says_something",
    "reasons", "statement", *ATTACK_FIGURES,
)  # fmt: skip

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_integer("n", 60_000, "Number of training examples.")
    flags.DEFINE_integer(
        "batch_size", 250, "Expected batch size: n times the sampling probability."
    )
    flags.DEFINE_float(
        "epochs",
        None,
        "Passes over the data, round(n / batch_size) steps each, as DP-SGD training takes them "
        "(n // batch_size where --accountant=shuffled): give this or --steps (neither: "
        f"{_PAPER_EPOCHS}).",
    )
    flags.DEFINE_integer("steps", None, "Executed steps: give this or --epochs.")
    flags.DEFINE_multi_string(
        "noise_multiplier",
        None,
        "Standard deviation of the noise over the clip norm; several, repeated or separated by "
        "commas, give a table. Neither this nor --target_epsilon: the paper's 5,1.1,0.5,0.05.",
    )
    flags.DEFINE_float(
        "target_epsilon", None, "Find the least noise whose epsilon does not exceed this."
    )
    flags.DEFINE_float(
        "target_advantage",
        None,
        "Find the least noise that holds every membership test on one example to this advantage: "
        "true minus false positive rate, in (0, 1).",
    )
    flags.DEFINE_enum(
        "accountant",
        "pld",
        privacy.ACCOUNTANTS,
        "What --target_epsilon or --target_advantage (pld or shuffled) bounds.",
    )
    flags.DEFINE_float("delta", 1e-5, "Delta, well below 1/n.")
    flags.DEFINE_enum(
        "format", "text", ("text", "json"), "json: one object, or a list for several multipliers."
    )
    flags.DEFINE_string(
        "plot",
        None,
        "PNG file for the trade-off curve of each run: true against false positive rates of the "
        "best membership test.",
    )


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    sampling_probability, steps, passes = _schedule()
    multipliers = _multipliers(sampling_probability, steps)
    if FLAGS.plot is not None:
        if not FLAGS.plot.endswith(".png"):
            raise ArgumentError(f"plot={FLAGS.plot!r} must end in .png")
        records.check_writable(Path(FLAGS.plot))
    costs = [_cost(multiplier, sampling_probability, steps, passes) for multiplier in multipliers]
    rows = [_row(cost) for cost in costs]
    if FLAGS.plot is not None:
        _plot(costs)
    if FLAGS.format == "json":
        print(json.dumps(rows if len(rows) > 1 else rows[0], indent=2, allow_nan=False))
    elif len(rows) > 1:
        print(_terminal.wrapped(_table(rows)))
    else:
        print(_terminal.wrapped(_report(rows[0])))


def _schedule() -> tuple[float, int, int | None]:
    """Sampling probability, steps, and the passes of a run that is planned with shuffled batches.

    Poisson batches round up where shuffled ones leave examples out: their passes follow from steps.
    """
    n, batch_size, epochs, steps = FLAGS.n, FLAGS.batch_size, FLAGS.epochs, FLAGS.steps
    check_range(1, MOST_EXAMPLES, n=n, batch_size=batch_size)
    check_positive_integer(n=n, batch_size=batch_size)
    check_delta(delta=FLAGS.delta)
    if batch_size > n:
        raise ArgumentError(
            f"batch_size={batch_size} must not exceed n={n}: a sampling probability is at most 1"
        )
    if epochs is not None and steps is not None:
        raise ArgumentError(f"epochs={epochs:g} and steps={steps} exclude each other: give one")
    if steps is not None:
        check_positive_integer(steps=steps)
        return batch_size / n, steps, None
    epochs = _PAPER_EPOCHS if epochs is None else epochs
    check_positive(epochs=epochs)
    check_range(0, MOST_STEPS, epochs=epochs)
    per_pass = privacy.steps_per_pass(n, batch_size, sampling=_sampling())
    steps = math.ceil(Fraction(repr(epochs)) * per_pass)  # in floats 0.07 * 100 is above 7
    return batch_size / n, steps, math.ceil(epochs) if _sampling() == "shuffle" else None


def _sampling() -> str:
    """What is planned: "shuffle" where the target is an epsilon of shuffled batches."""
    aimed = FLAGS.target_epsilon is not None or FLAGS.target_advantage is not None
    shuffled = aimed and FLAGS.accountant == "shuffled"
    return "shuffle" if shuffled else "poisson"


def _multipliers(sampling_probability: float, steps: int) -> list[float]:
    given, target, advantage = FLAGS.noise_multiplier, FLAGS.target_epsilon, FLAGS.target_advantage
    aims = {"target_epsilon": target, "target_advantage": advantage}
    named = [f"{name}={value:g}" for name, value in aims.items() if value is not None]
    named = ([f"noise_multiplier={','.join(given)}"] if given is not None else []) + named
    if len(named) > 1:
        raise ArgumentError(f"{' and '.join(named)} exclude each other: give one")
    if advantage is not None:
        sigma = privacy.noise_multiplier_for_advantage(
            max_advantage=advantage,
            sampling_probability=sampling_probability,
            steps=steps,
            accountant=FLAGS.accountant,
        )
        return [sigma]
    if target is None and FLAGS["accountant"].present:
        raise ArgumentError(
            f"accountant={FLAGS.accountant} goes with target_epsilon or target_advantage: give one"
        )
    if target is not None:
        sigma = privacy.noise_multiplier_for(
            target_epsilon=target,
            delta=FLAGS.delta,
            sampling_probability=sampling_probability,
            steps=steps,
            accountant=FLAGS.accountant,
        )
        return [sigma]
    if given is not None:
        given = [text for group in given for text in group.split(",")]
    return [_number(text) for text in (_PAPER_MULTIPLIERS if given is None else given)]


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ArgumentError(f"noise_multiplier={text!r} must be a number >= 0") from None
    if not (math.isfinite(value) and value >= 0):
        raise ArgumentError(f"noise_multiplier={text} must be a finite number >= 0")
    check_noise_multiplier(value)
    return value


def _cost(
    noise_multiplier: float, sampling_probability: float, steps: int, passes: int | None
) -> privacy.PrivacyCost:
    return privacy.privacy_cost(
        noise_multiplier=noise_multiplier,
        sampling_probability=sampling_probability,
        steps=steps,
        delta=FLAGS.delta,
        passes=passes,
        examples=FLAGS.n,
    )


def _plot(costs: list[privacy.PrivacyCost]) -> None:
    """Draws the curves that there are; where an epsilon cannot be computed there is none."""
    from experiments import _tradeoff_plot  # matplotlib takes a second to load

    found = {cost.noise_multiplier: claimed_curve(cost, _sampling()) for cost in costs}
    curves = {
        f"noise multiplier {sigma:g}, mu {curve.gaussian_mu:.3g}": curve
        for sigma, curve in found.items()
        if curve is not None
    }
    if not curves:
        raise ArgumentError(f"plot={FLAGS.plot!r}: no run has a trade-off curve")
    _tradeoff_plot.save(Path(FLAGS.plot), curves)


def _row(cost: privacy.PrivacyCost) -> dict[str, Any]:
    record = privacy.to_record(cost, sampling=_sampling())
    return {name: record[name] for name in (*_CONTRACT, *_BESIDE)}


_COLUMNS = {
    "epsilon_paper": "paper",
    "epsilon_rdp": "RDP",
    "epsilon_pld": "PLD",
    "epsilon_shuffled": "shuffled",
    "theorem_1_as_printed": "Theorem 1",
    "gap_bound": "gap bound",
}
"""Figures of the table, by the names that its head has."""
_LINES = {
    "epsilon_paper": "epsilon as the paper computes it",
    "epsilon_rdp": "epsilon by RDP",
    "epsilon_pld": "epsilon by PLD",
    "epsilon_shuffled": "epsilon on shuffled batches",
    "theorem_1_as_printed": "Theorem 1 as printed",
    "theorem_1_replace_one": "Theorem 1, replace-one",
    "gap_bound": "total variation, replace-one",
    "gap_bound_shuffled": "total variation, shuffled",
}
"""Figures of the report on one run, likewise."""


def _figure(value: float | None, *, points: bool = False) -> str:
    if value is None:
        return "no bound"
    if points:
        value = 100 * value
    return f"{value:.{1 if points else 3}f}" if value < 1e4 else f"{value:.3g}"


def _gap(value: float | None) -> str:
    """A total variation in points: where none can be worked out, the most that a gap can be."""
    return _figure(1.0 if value is None else value, points=True)


def _table(rows: list[dict[str, Any]]) -> str:
    header = (
        "noise_multiplier", "paper", "RDP", "PLD", "shuffled", "Theorem 1 (points)",
        "gap bound (points)",
    )  # fmt: skip
    lines = [
        (
            f"{row['noise_multiplier']:g}",
            *(
                _figure(row[name])
                for name in ("epsilon_paper", "epsilon_rdp", "epsilon_pld", "epsilon_shuffled")
            ),
            _figure(row["theorem_1_as_printed"], points=True),
            _gap(row["gap_bound"]),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
    body = "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in [header, *lines]
    )
    notes = "\n".join(
        f"  {row['noise_multiplier']:g}: {note}"
        for row in rows
        for note in [*row["warnings"], *_absences(row, _COLUMNS)]
    )
    return f"{_setting(rows[0])}\n\nepsilon by accountant\n{body}\n\n{_LEGEND}" + (
        f"\n\nnotes, by noise multiplier\n{notes}" if notes else ""
    )


_LEGEND = """\
paper, RDP, PLD: upper bounds on the same epsilon (one example added or removed, Poisson batches);
  the paper's conversion, today's, and the tight one by privacy loss distributions
shuffled: what the same steps earn on shuffled fixed batches, the usual practice
Theorem 1: the gap is at most exp(epsilon) - 1 + delta, with the paper's epsilon as printed; its
  proof needs the larger epsilon of replacing an example
gap bound: most that expected training and test accuracy can differ (replace-one total variation);
  100 points says nothing"""


def _setting(row: dict[str, Any]) -> str:
    return (
        f"{row['steps']} steps, sampling probability {row['sampling_probability']:.6g} "
        f"({FLAGS.batch_size} of {FLAGS.n}), delta {row['delta']:g}"
    )


def _absences(row: dict[str, Any], words: dict[str, str]) -> list[str]:
    """Why figures are missing that a reader looks for, by the words that stand before them."""
    reasons: dict[str, list[str]] = {}
    for name, why in row["reasons"].items():
        if name in words and why not in row["warnings"]:
            reasons.setdefault(why, []).append(words[name])
    return [f"no figure for {'; '.join(names)}: {why}" for why, names in reasons.items()]


def _report(row: dict[str, Any]) -> str:
    order = "" if row["order_paper"] is None else f" (at order {row['order_paper']:g})"
    says = row["bound_says_something"]
    lines = [
        _setting(row),
        f"noise multiplier                {row['noise_multiplier']:.6g}",
        "",
        "epsilon, one example added or removed, Poisson batches (upper bounds on one quantity)",
        f"  as the paper computes it      {_figure(row['epsilon_paper'])}{order}",
        f"  RDP, today's conversion       {_figure(row['epsilon_rdp'])}",
        f"  PLD, tight                    {_figure(row['epsilon_pld'])}",
        "epsilon on shuffled fixed batches",
        f"  one Gaussian a pass           {_figure(row['epsilon_shuffled'])}",
        "expected gap of training and test accuracy, in points, at most",
        f"  Theorem 1 as printed          {_figure(row['theorem_1_as_printed'], points=True)}"
        f"{_verdict(says['theorem_1_as_printed'])}",
        f"  Theorem 1, replace-one        {_figure(row['theorem_1_replace_one'], points=True)}"
        f"{_verdict(says['theorem_1_replace_one'])}",
        f"  total variation, replace-one  {_gap(row['gap_bound'])}{_verdict(says['gap_bound'])}",
        f"  total variation, shuffled     {_gap(row['gap_bound_shuffled'])}"
        f"{_verdict(says['gap_bound_shuffled'])}",
        "a test whether one example was trained on, at most",
        *(
            f"  {text}{_figure(row[name], points=True)}"
            for name, text in zip(
                ATTACK_FIGURES[1:],
                (
                    "advantage, in points          ",
                    "% found at 0.1% false         ",
                    "% found at 1% false           ",
                    "% found at 10% false          ",
                ),
                strict=True,
            )
        ),
        "",
        row["statement"],
    ]
    warning = _terminal.styled("warning:", "warning")
    lines += [f"{warning} {text}" for text in row["warnings"]]
    lines += [f"note: {absence}" for absence in _absences(row, _LINES)]
    return "\n".join(lines)


def _verdict(says_something: bool) -> str:
    return "" if says_something else "  (says nothing: a gap is at most 100)"


if __name__ == "__main__":
    _app.run(main, define_flags)
