"""The pictures of a card, as SVG that takes the colours of the page around it."""

import re
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.assessment.card import Card
from ft_tf.report import plot_styles

_INK = "#010203"
"""Stands for the colour of the page's text, which is not known here."""
COLORS = {
    "weights": plot_styles.FAMILIES["dpsgd"][0],
    "units": plot_styles.FAMILIES["trades"][0],
    "bits": plot_styles.FAMILIES["tikhonov"][0],
}


def pictures(*cards: Card) -> tuple[tuple[str, str], ...]:
    """Returns (SVG, caption) pairs, the curves and the bars; a second card is dashed and paler."""
    found = []
    if any(card.curves for card in cards):
        caption = "Accuracy by the rate of faults, with 95% intervals over trials."
        found.append((_inline(lambda: _curves(cards)), caption))
    caption = "Accuracy, and what is left under attack, with 95% intervals over test images."
    found.append((_inline(lambda: _bars(cards)), caption))
    return tuple(found)


def _figure(height: float) -> tuple[Figure, Axes]:
    matplotlib.rcParams["svg.fonttype"] = "none"  # texts stay texts; `render` sets it back
    figure, ((axes,),) = plot_styles.panels(1, 1, title="", width=3.8, height=height)
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.tick_params(colors=_INK)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(_INK)
    axes.grid(color=_INK, alpha=0.15)
    return figure, axes


def _curves(cards: Sequence[Card]) -> Figure:
    figure, axes = _figure(2.6)
    names = {"weights": "weights stuck at 0, share", "units": "units stuck at 0, share",
             "bits": "bit errors, per bit"}  # fmt: skip
    for number, card in enumerate(cards):
        style = {"linestyle": "-" if number == 0 else "--", "alpha": 1 - 0.3 * number}
        for key in filter(card.curves.get, names):
            curve = card.curves[key]
            rates = np.array(curve.rates[1:])
            clean = np.mean(curve.accuracy[0])
            mean, low, high = (100 * (clean - np.array(v[1:])) for v in
                               (curve.mean, curve.high, curve.low))  # fmt: skip
            name = names[key] if not any(key in c.curves for c in cards[:number]) else None
            axes.plot(rates, mean, color=COLORS[key], label=name, marker=".", **style)
            axes.fill_between(rates, low, high, color=COLORS[key], alpha=0.15, linewidth=0)
    axes.axhline(100 / cards[0].model.classes, color=_INK, linestyle=":", linewidth=0.9)
    axes.set(xscale="log", xlabel="rate of faults", ylabel="accuracy, %")
    axes.set_ylim(bottom=0)
    legend = figure.legend(loc="outside lower center", ncols=1)
    for text in legend.get_texts():
        text.set_color(_INK)
    return figure


def _bars(cards: Sequence[Card]) -> Figure:
    bars = []
    for number, card in enumerate(cards):
        label = f"{'AB'[number]}: " if len(cards) > 1 else ""
        bars.append((f"{label}accuracy", card.clean.accuracy, card.clean.interval))
        if card.robust is not None:
            bars.append((f"{label}under attack", card.robust.accuracy, card.robust.interval))
    figure, axes = _figure(0.25 * len(bars) + 0.1)
    places = range(len(bars))[::-1]
    for place, (name, value, (low, high)) in zip(places, bars, strict=True):
        color = COLORS["units" if "attack" in name else "weights"]
        axes.barh(place, 100 * value, color=color, height=0.6, alpha=0.85)
        axes.errorbar(100 * value, place, xerr=[[100 * (value - low)], [100 * (high - value)]],
                      color=_INK, capsize=3, linewidth=1)  # fmt: skip
    axes.set_yticks(list(places), [name for name, _, _ in bars])
    axes.set(xlim=(0, 100), xlabel="%")
    axes.grid(axis="y", visible=False)
    return figure


def _inline(draw: Callable[[], Figure]) -> str:
    """SVG as a part of an HTML page: as wide as there is room, in the colour of the text."""
    svg = plot_styles.render(draw, ("svg",))["svg"].decode("utf-8")
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
