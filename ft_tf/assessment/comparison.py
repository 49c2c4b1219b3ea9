"""Two cards side by side: differences in pairs where both were measured on the same."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ft_tf import faults, intervals
from ft_tf.assessment import page
from ft_tf.assessment.card import Card, unpacked, with_rule
from ft_tf.report import display_names
from ft_tf.report.table import percent


@dataclasses.dataclass(frozen=True)
class Difference:
    """A figure of two models, as a fraction, and first minus second with its 95% interval.

    It is `paired` where both were measured on the same images, faults and seeds.
    """

    group: str  # "accuracy", "attack", or the key of a curve, which has a line for each rate
    what: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    paired: bool


def differences(first: Card, second: Card) -> list[Difference]:
    """Returns accuracies without and under faults and attack, set against each other.

    Where images, faults and seeds are the same, pairs are compared, image by image or trial by
    trial; other intervals are those of independent samples (Newcombe, of trials Welch).
    """
    cards = (first, second)
    same_data = first.data.fingerprint == second.data.fingerprint
    same_images = same_data and all(
        getattr(first.settings, name) == getattr(second.settings, name)
        for name in ("seed", "images", "images_per_trial")
    )
    right = [unpacked(card.clean.right, card.data.examples) for card in cards]
    found = [_of_images("accuracy", "accuracy", right, same_data)]
    # The first images of one order, whatever their number and the size of a block.
    same_order = same_data and first.settings.seed == second.settings.seed
    attacks = [card.robust and (card.robust.attack, card.robust.epsilon) for card in cards]
    if attacks[0] and attacks[0] == attacks[1]:
        survived = [unpacked(card.robust.survived, card.robust.images) for card in cards]
        least = min(map(len, survived)) if same_order else None
        what = f"accuracy under {attacks[0][0]} within {display_names.radius(attacks[0][1])}"
        found.append(_of_images("attack", what, [flags[:least] for flags in survived], same_order))
    for key in first.curves:
        if key in second.curves and first.curves[key].fault == second.curves[key].fault:
            found += _of_curves(key, cards, same_images)
    return found


def _of_images(group: str, what: str, right: Sequence[np.ndarray], paired: bool) -> Difference:
    compare = intervals.paired_proportions if paired else intervals.independent_proportions
    interval = compare(*right, unit="test image")
    a, b = (float(flags.mean()) for flags in right)
    return Difference(group, what, a, b, a - b, interval.low, interval.high, paired)


def _of_curves(key: str, cards: Sequence[Card], same_images: bool) -> list[Difference]:
    curves = [card.curves[key] for card in cards]
    paired = same_images and curves[0].sites == curves[1].sites
    frames = [curve.frame(card.settings.seed) for curve, card in zip(curves, cards, strict=True)]
    if paired:
        least = min(curve.trials for curve in curves)
        frames = [with_rule(frame[frame["trial"] < least]) for frame in frames]
        table = faults.paired_difference(*frames).set_index("rate")
    names = {page.names_of(card)[key] for card in cards}
    name = names.pop() if len(names) == 1 else "bit errors"  # in two .tflite files
    found = []
    for rate in sorted({*curves[0].rates} & {*curves[1].rates} - {0.0}):
        values = [frame.loc[frame["rate"] == rate, "accuracy"] for frame in frames]
        interval = table.loc[rate] if paired else intervals.welch(*values, unit="trial")
        a, b = (float(accuracies.mean()) for accuracies in values)
        text = page.share(rate, of_bits=curves[0].of_bits)
        what = f"accuracy at {text} {name}"
        found.append(Difference(key, what, a, b, a - b, interval.low, interval.high, paired))
    return found


def _unlike(first: Card, second: Card) -> Iterator[str]:
    """Lines on what both cards have, but not of the same faults or attack."""
    if first.robust and second.robust:
        ways = [f"{r.attack} {display_names.radius(r.epsilon)}"
                for r in (first.robust, second.robust)]  # fmt: skip
        if ways[0] != ways[1]:
            yield f"accuracy under attack: {ways[0]} and {ways[1]}"
    for key in filter(second.curves.get, first.curves):
        if first.curves[key].fault != second.curves[key].fault:
            yield " and ".join(page.names_of(card)[key] for card in (first, second))


def page_of_two(first: Card, second: Card) -> page.Page:
    """Returns the page of two cards."""
    from ft_tf.assessment import figures  # matplotlib takes a second

    found = differences(first, second)
    groups = dict.fromkeys(line.group for line in found)
    middles = [_middle([line for line in found if line.group == group]) for group in groups]
    sides = [{row[0]: f"{row[1]} {row[2]}".strip() for row in page.rows_of(card)}
             for card in (first, second)]  # fmt: skip
    each = [(what, *(side.get(what, page.NOTHING) for side in sides))
            for what in dict.fromkeys([*sides[0], *sides[1]])]  # fmt: skip
    clear = sum(line.low > 0 or line.high < 0 for line in found)
    other = "" if first.data.fingerprint == second.data.fingerprint else " The data differ too."
    return page.Page(
        title=f"{first.model.name} and {second.model.name}",
        answer=f"A is {first.model.name} on {first.data.name}, B is {second.model.name} on "
        f"{second.data.name}. {clear} of {len(found)} differences have an interval without 0; of "
        f"each curve the middle of its fall is shown.{other}",
        figures=figures.pictures(first, second),
        table=_table("Differences", middles),
        details=(
            _table("Differences at every rate", found),
            page.simple("Each card", ("", "A", "B"), each),
        ),
        lists=(("not compared", tuple(_unlike(first, second))),),
    )


def _middle(lines: Sequence[Difference]) -> Difference:
    """The line whose accuracies are next to the middle between the highest and the lowest."""
    sums = [line.first + line.second for line in lines]
    return min(lines, key=lambda line: abs(line.first + line.second - (max(sums) + min(sums)) / 2))


def _table(title: str, found: Sequence[Difference]) -> page.Table:
    lines = [
        (line.what, f"{percent(line.first)}%", f"{percent(line.second)}%",
         percent(line.difference, signed=True), page.span(line.low, line.high, signed=True),
         "yes" if line.paired else "no")
        for line in found
    ]  # fmt: skip
    headers = ("", "A", "B", "A - B, points", "95% interval", "paired")
    return page.simple(title, headers, lines)
