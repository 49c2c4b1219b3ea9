"""A record in a few lines of words, for the terminal."""

from ft_tf.records import Attack, Run


def _percent(value: float) -> str:
    return f"{100 * value:.2f}%"


def _attack_lines(attack: Attack) -> list[str]:
    """What tells attacks apart, the accuracy without it on its own images, and its warnings.

    A run attacked again later has several, on more images or fewer: lines without steps and images
    could not be told from one another, nor from the test accuracy.
    """
    steps, distance = attack.steps, attack.parameters.get("distance", "l_inf")
    line = (
        f"  accuracy under {attack.attack}, {distance} epsilon {attack.epsilon:.4g}, "
        f"{steps} step{'s' * (steps != 1)}, on the first {attack.images:,} test images: "
        f"{_percent(attack.robust_accuracy)}; not attacked: {_percent(attack.clean_accuracy)}"
    )
    warnings = [f"    WARNING: {warning}" for warning in attack.warnings]
    return [line + _gaps(attack), *warnings]


def _gaps(attack: Attack) -> str:
    robust = attack.robust_generalization_error
    if robust is None:
        return ""
    natural = attack.train_clean_accuracy - attack.clean_accuracy
    return (
        f"; generalization error on the attacked images: natural {_percent(natural)}, "
        f"robust {_percent(robust)}"
    )


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
    for target, campaign in record.faults.items():
        levels = ", ".join(
            f"{rate:.0%}: {_percent(mean)}"
            for rate, mean in zip(campaign.rates, campaign.mean, strict=True)
            if rate in (0.0, 0.1, 0.5, 0.9)
        )
        lines.append(f"  accuracy with {target} stuck at 0: {levels}")
    for attack in record.robustness:
        lines += _attack_lines(attack)
    best = record.best_checkpoint
    if best is not None:
        lines.append(
            f"  most robust checkpoint: epoch {best.epoch}, test "
            f"{_percent(best.test_accuracy)}, under attack {_percent(best.robust_accuracy)}"
        )
    if record.privacy is not None:
        lines.append(f"  privacy: {record.privacy.statement}")
    return "\n".join(lines)
