"""A record in a few lines, for the terminal."""

from ft_tf.records import Attack, Membership, Run


def _percent(value: float) -> str:
    return f"{100 * value:.2f}%"


def radius(epsilon: float) -> str:
    """A radius, as a fraction of 255 where it has no short decimal.

    >>> radius(8 / 255), radius(0.2)
    ('8/255', '0.2')
    """
    levels, decimal = round(255 * epsilon), f"{epsilon:.4g}"
    is_fraction = float(decimal) != epsilon and abs(255 * epsilon - levels) < 1e-6
    return f"{levels}/255" if is_fraction else decimal


def attack_line(attack: Attack, *, intervals: bool = False) -> str:
    """An attack's outcome: attack, norm, epsilon and steps first, then accuracies.

    The accuracy without attack is that of the same images. A run may have several attacks, which
    only steps and images tell apart.
    """
    options = attack.parameters
    effort = f"{attack.steps} step{'s' * (attack.steps != 1)}"
    if "queries" in options:
        steps = f"{effort}, " if "num_steps" in options else ""
        effort = f"{steps}{options['queries']:,} queries"
    robust, clean = _percent(attack.robust_accuracy), _percent(attack.clean_accuracy)
    if intervals:
        robust += _interval(attack.robust_interval)
        clean += _interval(attack.clean_interval)
    norm = options.get("distance", "l_inf")
    return (
        f"accuracy under {attack.attack}, {norm} epsilon {radius(attack.epsilon)}, {effort}, on "
        f"the first {attack.images:,} test images: {robust}; not attacked: {clean}"
    )


def _interval(ends: tuple[float, float]) -> str:
    return f" [{_percent(ends[0])}, {_percent(ends[1])}]"


def _attack_lines(attack: Attack) -> list[str]:
    warnings = [f"    WARNING: {warning}" for warning in attack.warnings]
    return [f"  {attack_line(attack)}{_gaps(attack)}", *warnings]


def _gaps(attack: Attack) -> str:
    robust = attack.robust_generalization_error
    if robust is None:
        return ""
    natural = attack.train_clean_accuracy - attack.clean_accuracy
    return (
        f"; generalization error on the attacked images: natural {_percent(natural)}, "
        f"robust {_percent(robust)}"
    )


def _membership_lines(found: Membership | None) -> list[str]:
    if found is None:
        return []
    attacks = {"the threshold on the loss": found}
    if (by := found.by_references) is not None:
        attacks[f"RMIA with {by.references} reference models"] = by
    at = f"{found.false_positive_rate:.1%} of the test images"
    return [
        f"  membership: {name} finds {_percent(attack.true_positive_rate)}"
        f"{_interval(attack.true_positive_interval)} of the training images at {at}; advantage "
        f"{_percent(attack.advantage)}"
        for name, attack in attacks.items()
    ]


def summary(record: Run) -> str:
    """What a finished run found, or where a failed one stopped."""
    lines = [record.name]
    failure, accuracy = record.failure, record.accuracy
    if failure is not None:
        lines.append(f"  FAILED: {failure.reason} at epoch {failure.epoch}, step {failure.step}")
        return "\n".join(lines)
    lines.append(
        f"  accuracy: train {_percent(accuracy.train)}, test {_percent(accuracy.test)}, "
        f"generalization error {_percent(accuracy.generalization_error)}"
    )
    fault = record.config.get("evaluation", {}).get("fault", "stuck_at_0")
    fate = "stuck at 0" if fault == "stuck_at_0" else f"faulty ({fault})"
    for target, campaign in record.faults.items():
        levels = ", ".join(
            f"{rate:.0%}: {_percent(mean)}"
            for rate, mean in zip(campaign.rates, campaign.mean, strict=True)
            if rate in (0.0, 0.1, 0.5, 0.9)
        )
        lines.append(f"  accuracy with {target} {fate}: {levels}")
    for attack in record.robustness:
        lines += _attack_lines(attack)
    lines += _membership_lines(record.membership)
    best = record.best_checkpoint
    if best is not None:
        lines.append(
            f"  most robust checkpoint: epoch {best.epoch}, test "
            f"{_percent(best.test_accuracy)}, under attack {_percent(best.robust_accuracy)}"
        )
    if record.privacy is not None:
        lines.append(f"  privacy: {record.privacy.statement}")
    return "\n".join(lines)
