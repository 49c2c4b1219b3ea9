"""A card, or two side by side, as a page: text for a terminal, HTML, Markdown."""

import dataclasses
from collections.abc import Sequence

import jinja2
import pandas as pd

from ft_tf.assessment.card import Card, Curve, Rate
from ft_tf.assessment.curves import interval_of_lost
from ft_tf.report import display_names, rendering, table
from ft_tf.report.table import Column, Table, percent

NOTHING = table.NOTHING
BRIEF = ("doubt about the attack", "not measured", "not compared")
"""Lists that the one screen of a terminal shows too."""


@dataclasses.dataclass(frozen=True)
class Page:
    """What every form of a page shows.

    Attributes:
        title: one line.
        answer: a sentence or two.
        figures: inline SVG with a caption each, for HTML.
        table: the main table.
        details: further tables, which HTML folds.
        lists: sentences by title.
        card: whose figures are Markdown's metadata.
    """

    title: str
    answer: str
    figures: tuple[tuple[str, str], ...]
    table: Table
    details: tuple[Table, ...]
    lists: tuple[tuple[str, tuple[str, ...]], ...]
    card: Card | None = None


def terminal(page: Page, *, width: int = 100, is_whole: bool = False) -> str:
    """Returns the page as text: one screen, or all of it."""
    first = dataclasses.replace(page.table, title=page.title)
    tables = (first, *page.details) if is_whole else (first,)
    parts = [table.wrapped(page.answer, width=width)]
    parts += [table.terminal(each, width=width) for each in tables]
    for title, lines in page.lists:
        if not is_whole and title not in BRIEF:
            continue
        texts = (table.wrapped(f"{title}: {line}", width=width, indent="  ") for line in lines)
        parts += ["".join(texts)] if lines else []
    return "\n".join(parts)


def html(page: Page) -> str:
    """Returns one file without scripts and without network; every text is escaped."""
    return _environment(is_html=True).get_template("page.html.j2").render(page=page)


def markdown(page: Page) -> str:
    """Returns Markdown; a card's begins with the metadata of model hubs (model-index)."""
    return _environment(is_html=False).get_template("page.md.j2").render(page=page)


def _environment(*, is_html: bool) -> jinja2.Environment:
    environment = rendering.environment(is_html=is_html)
    environment.loader = jinja2.PackageLoader("ft_tf.assessment")
    environment.filters |= {
        "markdown": table.markdown,
        "escaped": table.escape_markdown,
        "radius": display_names.radius,
        "yaml": _yaml,
    }
    environment.globals["names_of"] = names_of
    return environment


def _yaml(value: float) -> str:
    """A number that YAML 1.1 takes for one too: 2e-07 would be text."""
    text = repr(float(value))
    return text if "." in text else text.replace("e", ".0e")


def span(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """An interval of fractions in percent, with signs in points."""
    if low is None or high is None:
        return NOTHING
    return f"[{percent(low, signed=signed)}, {percent(high, signed=signed)}]"


def _span_of(part: Curve) -> str:
    """The interval of what is lost in a part; one trial shows no spread."""
    return span(part.low[0], part.high[0]) if part.trials > 1 else NOTHING


def share(rate: float, *, of_bits: bool) -> str:
    """A rate with two digits: of bits as it is, of weights and units in percent.

    >>> share(0.0123, of_bits=False), share(2.04e-7, of_bits=True)
    ('1.2%', '2e-07')
    """
    return f"{rate:.2g}" if of_bits else f"{float(f'{100 * rate:.2g}'):.12g}%"


def rate_cells(curve: Curve, rate: Rate) -> tuple[str, str]:
    """The texts of a rate and its interval."""
    above = f"> {share(curve.rates[-1], of_bits=curve.of_bits)}"
    if rate.value is None:
        return above, NOTHING
    value, low, high = (
        above if end is None else share(end, of_bits=curve.of_bits)
        for end in (rate.value, rate.low, rate.high)
    )
    return value, NOTHING if rate.low is None else f"[{low}, {high}]"


def names_of(card: Card) -> dict[str, str]:
    """What the faults of each curve are called, in the order that is shown."""
    names = {"weights": "weights stuck at 0", "units": "units stuck at 0",
             "bits": f"{card.model.storage} bit errors"}  # fmt: skip
    return {key: name for key, name in names.items() if key in card.curves}


def rows_of(card: Card) -> list[tuple[str, str, str, str]]:
    """The lines of the main table: what, its value, its interval, and what it was measured on."""
    clean, found = card.clean, card.membership
    rows = [
        ("accuracy", f"{percent(clean.accuracy)}%", span(*clean.interval),
         f"{card.data.examples:,} test images"),
        ("calibration error", f"{percent(clean.calibration_error)}%", "",
         f"mean confidence {percent(clean.confidence)}%"),
    ]  # fmt: skip
    for key, name in names_of(card).items():
        curve = card.curves[key]
        on = f"{curve.trials:,} trial{'s' * (curve.trials > 1)} of {curve.images} images"
        rows.append((f"1 point lost, {name}", *rate_cells(curve, curve.one_point), on))
        rows.append((f"half lost, {name}", *rate_cells(curve, curve.half), ""))
    for label, parts in (("layer", card.layers), ("bit", card.bits)):
        tried = {name: part for name, part in parts.items() if part.trials > 1}
        for name, worst in most_damaging(tried)[:1]:  # the most of single trials is chance
            on = f"at {share(worst.rates[0], of_bits=False)} of {worst.sites:,} sites"
            rows.append((f"most damaging {label}: {name}", f"{percent(worst.mean[0])} points",
                         _span_of(worst), on))  # fmt: skip
    for name in filter(card.protections.get, card.settings.protections):  # a file sorts its keys
        part = card.protections[name]
        bits, (rate,) = card.curves["bits"], part.rates
        lost = list(zip(bits.lost[bits.rates.index(rate)], part.lost[0], strict=False))
        gained = [before - after for before, after in lost]
        if len(gained) < 2:
            rows.append((f"{name} gives back", NOTHING, NOTHING, "one trial says too little"))
            continue
        back, before = interval_of_lost(gained), sum(before for before, _ in lost) / len(lost)
        rows.append((f"{name} gives back", f"{percent(sum(gained) / len(gained))} points",
                     span(back.low, back.high, signed=True),
                     f"{percent(before)} lost, {len(gained)} trials at {rate:g}"))  # fmt: skip
    if card.robust is not None:
        robust = card.robust
        low, high = card.settings.bounds
        box = "" if (low, high) == (0, 1) else f" in [{low:g}, {high:g}]"
        on = f"{robust.attack} {display_names.radius(robust.epsilon)}{box}"
        rows.append(("accuracy under attack", f"{percent(robust.accuracy)}%",
                     span(*robust.interval), f"{on}, {robust.images:,} images"))  # fmt: skip
    if found is not None:
        on = f"at {found.false_positive_rate:.1%} false alarms"
        rows += [
            ("members found by their loss", f"{percent(found.true_positive_rate)}%",
             span(*found.true_positive_interval), on),
            ("membership advantage", f"{percent(found.advantage)} points", "",
             f"if it trained on all {found.members:,}"),
        ]  # fmt: skip
    if card.privacy is not None:
        epsilon = table.epsilon(card.privacy.epsilon)
        on = f"delta {card.privacy.delta:g}, by its record"
        rows.append(("epsilon of the training", epsilon, "", on))
    return rows


def answer(card: Card) -> str:
    """The card in a sentence or two."""
    text = f"{percent(card.clean.accuracy)}% of the test images are right."
    lost = [
        f"{rate_cells(card.curves[key], card.curves[key].one_point)[0]} {name}"
        for key, name in names_of(card).items()
        if card.curves[key].one_point.value is not None
    ]
    if lost:
        text += f" One point is lost at {', '.join(lost)}."
    if card.robust is not None:
        radius = display_names.radius(card.robust.epsilon)
        text += f" {percent(card.robust.accuracy)}% are right under attack within {radius}."
    return text


def simple(
    title: str, headers: Sequence[str], lines: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> Table:
    """A table of texts; the first column names the rows, "on" explains them."""
    columns = [
        Column(header or "what", header, format=str if place and header != "on" else table.text,
               priority=int(header == "on"))
        for place, header in enumerate(headers)
    ]  # fmt: skip
    frame = pd.DataFrame(lines, columns=[column.key for column in columns])
    return table.make_table(frame, columns, title, notes=notes)


def _curve_table(card: Card, key: str) -> Table:
    curve = card.curves[key]
    lines = [
        (share(rate, of_bits=curve.of_bits), f"{count:,}", percent(sum(values) / len(values)),
         percent(mean), span(low, high) if curve.trials > 1 else NOTHING)
        for rate, count, values, mean, low, high in zip(
            curve.rates, curve.faults, curve.accuracy, curve.mean, curve.low, curve.high,
            strict=True,
        )
    ]  # fmt: skip
    note = (
        f"{curve.fault}, a rate per {curve.per} of {curve.sites:,}; {curve.trials} trials of "
        f"{curve.images} images, seed {card.settings.seed}. Losses are against the model without "
        "faults on the images of the trial; intervals are over trials."
    )
    headers = ("rate", "faults", "accuracy, %", "lost, points", "95% interval")
    return simple(f"Accuracy by the rate of {names_of(card)[key]}", headers, lines, (note,))


def most_damaging(parts: dict[str, Curve]) -> list[tuple[str, Curve]]:
    """Parts of a model by falling loss."""
    return sorted(parts.items(), key=lambda item: (-item[1].mean[0], item[0]))


def _parts_table(title: str, parts: dict[str, Curve], note: str) -> Table:
    lines = [
        (name, f"{part.sites:,}", share(part.rates[0], of_bits=False), percent(part.mean[0]),
         _span_of(part), str(part.trials))
        for name, part in most_damaging(parts)
    ]  # fmt: skip
    headers = ("", "sites", "rate", "lost, points", "95% interval", "trials")
    return simple(title, headers, lines, (note,))


def page_of(card: Card) -> Page:
    """Returns the page of a card."""
    from ft_tf.assessment import figures  # matplotlib takes a second

    details = [_curve_table(card, key) for key in names_of(card)]
    if card.layers:
        note = "At the rate where the whole model loses about half."
        details.append(_parts_table("Weights stuck at 0 in one layer", card.layers, note))
    if card.bits:
        note = "As many as cost about half when they hit all bits; bit 0 is the lowest."
        details.append(_parts_table("Errors in one bit of stored words", card.bits, note))
    seconds = [(name, f"{value:.0f}") for name, value in sorted(card.seconds.items())]
    details.append(simple("Time spent", ("", "seconds"), seconds))
    model, settings, where = card.model, card.settings, card.environment
    lists = [("not measured", tuple(f"{n.what}: {n.why}" for n in card.not_measured))]
    if card.robust is not None:
        lists.insert(0, ("doubt about the attack", card.robust.warnings))
    if card.privacy is not None:
        lists.append(("privacy of the training", (card.privacy.statement,)))
        lists.append(("checked", card.privacy.checked))
        lists.append(("not checked", card.privacy.not_checked))
    lists.append(("settings", (
        f"{model.name}: {model.parameters:,} parameters stored as {model.storage}, sha256 "
        f"{model.weights_fingerprint[:12]}; {card.data.name}: sha256 {card.data.fingerprint[:12]}",
        f"seed {settings.seed}; faults and attacks on {min(settings.images, card.data.examples):,} "
        f"images drawn with it; inputs in [{settings.bounds[0]:g}, {settings.bounds[1]:g}]",
        f"TensorFlow {where.packages.get('tensorflow')}, {where.processor}, "
        f"{where.threads} threads",
    )))  # fmt: skip
    return Page(
        title=f"{model.name} on {card.data.name} ({card.spent:.0f} s of {card.budget:.0f})",
        answer=answer(card),
        figures=figures.pictures(card),
        table=simple("Measured", ("", "value", "95% interval", "on"), rows_of(card)),
        details=tuple(details),
        lists=tuple(lists),
        card=card,
    )
