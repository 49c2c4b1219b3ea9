"""The card's file, and its forms: byte for byte from JSON."""

import dataclasses
import json

import numpy as np
import pytest
import yaml

from ft_tf import assessment, faults, intervals
from ft_tf.assessment import comparison, page
from ft_tf.assessment.card import Card, packed, unpacked
from ft_tf.errors import RunError


def forms(card):
    found = page.page_of(card)
    return page.terminal(found), page.html(found), page.markdown(found)


def test_a_card_comes_back_from_its_file(card, place, tmp_path):
    text = card.to_json()
    assert Card.from_json(text).to_json() == text
    (tmp_path / "card.json").write_text(text)
    assert forms(assessment.load(tmp_path)) == forms(card)


def test_a_card_without_curves_is_shown(card):
    """Also one whose package versions lack TensorFlow's."""
    fields = json.loads(card.to_json())
    fields |= {"curves": {}, "layers": {}, "bits": {}, "protections": {}}
    fields["environment"]["packages"] = {}
    bare = Card.from_json(json.dumps(fields))
    assert all(forms(bare))
    assert comparison.page_of_two(bare, card).title


def test_protections_are_in_the_order_in_which_they_were_asked_for(card):
    """Also from a file, whose keys are sorted: its pages are those of the card."""
    (part,) = card.protections.values()
    names = ("secded", "parity", "absent", "clipping")
    settings = dataclasses.replace(card.settings, protections=names)
    several = dict.fromkeys(("secded", "parity", "clipping"), part)
    changed = dataclasses.replace(card, protections=several, settings=settings)
    rows = [row[0] for row in page.rows_of(changed) if row[0].endswith(" gives back")]
    assert rows == [f"{name} gives back" for name in several]
    assert forms(Card.from_json(changed.to_json())) == forms(changed)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c["clean"].update(accuracy=1.5), "clean.accuracy=1.5 must lie in [0, 1]"),
        (lambda c: c["clean"].update(right="ff"), "clean.right must have a bit for each of 300"),
        (lambda c: c["curves"]["weights"]["accuracy"][1].pop(),
         "curves.weights.accuracy[1] must have a value per trial"),
        (lambda c: c["clean"].update(right="z" * 75), "clean.right='zzz"),
        (lambda c: c["robust"].update(survived="é" * len(c["robust"]["survived"])),
         "robust.survived='éé"),
        (lambda c: c["curves"].update(evil=c["curves"]["bits"]),
         "curves.evil='evil' must be weights or units or bits"),
        (lambda c: c["curves"]["units"].pop("half"), "curves.units must have one_point and half"),
        (lambda c: c["curves"].pop("bits"),
         "protections['fraction only'].rates must be one of the rates of curves.bits"),
        (lambda c: c.pop("seconds"), "seconds is missing"),
        (lambda c: c.update(colour=1), "colour is an unknown key"),
    ],
)  # fmt: skip
def test_a_damaged_card_is_refused_in_one_line(card, tmp_path, change, problem):
    fields = json.loads(card.to_json())
    change(fields)
    path = tmp_path / "card.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(RunError) as caught:
        assessment.load(path)
    assert str(caught.value).startswith(f"{path} is no valid card: {problem}")


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9, 300])
def test_flags_come_back(count):
    flags = np.random.default_rng(count).random(count) < 0.5
    assert len(packed(flags)) == -(-count // 4)
    assert unpacked(packed(flags), count).tolist() == flags.tolist()


def test_the_terminal_shows_one_screen_answer_first(card):
    lines = forms(card)[0].splitlines()
    assert lines[0].startswith(f"{100 * card.clean.accuracy:.2f}% of the test images are right.")
    assert len(lines) <= 40 and max(map(len, lines)) <= 100


def test_no_name_steers_the_terminal(card):
    fields = json.loads(card.to_json())
    fields["model"]["name"] = "\x1b[31mEVIL\x1b]0;x\x07"
    found = page.page_of(Card.from_json(json.dumps(fields)))
    for is_whole in (False, True):
        text = page.terminal(found, is_whole=is_whole)
        assert "EVIL" in text and text.replace("\n", "").isprintable()


def test_html_is_one_file_that_escapes_names(card):
    fields = json.loads(card.to_json())
    fields["model"]["name"] = "<script>alert(1)</script>"
    text = page.html(page.page_of(Card.from_json(json.dumps(fields))))
    assert "<script" not in text and "&lt;script&gt;" in text
    assert text.count("<svg") == 2 and "src=" not in text and "<link" not in text


def test_markdown_begins_with_a_model_index(card):
    text = forms(card)[2]
    _, matter, body = text.split("---\n", 2)
    (entry,) = yaml.safe_load(matter)["model-index"]
    (result,) = entry["results"]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert entry["name"] == card.model.name and result["dataset"]["type"] == "quarters"
    assert {"type", "name"} <= set(result["task"]) and values["accuracy"] == card.clean.accuracy
    assert values["fault_rate_bits_half"] == card.curves["bits"].half.value
    assert body.lstrip().startswith("# quarters on quarters")


def test_two_cards_are_compared_in_pairs(card, other):
    found = {line.what: line for line in comparison.differences(card, other)}
    right = [unpacked(c.clean.right, c.data.examples) for c in (card, other)]
    wanted = intervals.paired_proportions(*right)
    line = found["accuracy"]
    assert (line.low, line.high, line.paired) == (wanted.low, wanted.high, True)
    table = faults.paired_difference(
        card.curves["weights"].frame(3), other.curves["weights"].frame(3)
    )
    shared = [line for what, line in found.items() if "weights stuck at 0" in what]
    assert [line.difference for line in shared] == pytest.approx(table["difference"].tolist()[1:])
    assert all(line.paired for line in shared) and len(shared) > 3


def test_cards_of_other_seeds_are_not_paired(card, other):
    fields = json.loads(other.to_json())
    fields["settings"]["seed"] = 4
    moved = Card.from_json(json.dumps(fields))
    found = comparison.differences(card, moved)
    assert found[0].paired and not any(line.paired for line in found[1:])
    a, b = (c.curves["weights"].frame(0) for c in (card, moved))
    rate = sorted({*a["rate"]} & {*b["rate"]})[1]
    wanted = intervals.welch(*(f.loc[f["rate"] == rate, "accuracy"] for f in (a, b)), unit="trial")
    line = next(line for line in found if "weights stuck at 0" in line.what)
    assert (line.low, line.high) == (wanted.low, wanted.high)


def test_the_page_of_two_shows_both(card, other):
    text = page.terminal(comparison.page_of_two(card, other))
    assert "A - B" in text and text == page.terminal(comparison.page_of_two(card, other))


def test_cards_on_other_data_say_so(card, other):
    assert "The data differ too." not in comparison.page_of_two(card, other).answer
    data = dataclasses.replace(other.data, fingerprint="0" * 64)
    moved = dataclasses.replace(other, data=data)
    assert "The data differ too." in comparison.page_of_two(card, moved).answer


def of_trials(part, count):
    """A part with the first trials of another alone."""
    names = ("lost", "accuracy")
    return dataclasses.replace(part, **{n: [v[:count] for v in getattr(part, n)] for n in names})


def test_one_trial_is_no_headline(card):
    """What is given back stands beside what these trials lose without the protection."""
    ((name, part),) = card.protections.items()
    before = card.curves["bits"].lost[card.curves["bits"].rates.index(part.rates[0])]
    for count in (1, 2):
        parts = {"layers": card.layers, "bits": card.bits, "protections": card.protections}
        changed = {k: {n: of_trials(p, count) for n, p in v.items()} for k, v in parts.items()}
        rows = {row[0]: row[1:] for row in page.rows_of(dataclasses.replace(card, **changed))}
        assert any(label.startswith("most damaging") for label in rows) == (count > 1)
        value, _, on = rows[f"{name} gives back"]
        if count == 1:
            assert (value, on) == (page.NOTHING, "one trial says too little")
        else:
            lost = 100 * sum(before[:2]) / 2
            assert on == f"{lost:.2f} lost, 2 trials at {part.rates[0]:g}"
            assert value == f"{lost - 100 * sum(part.lost[0][:2]) / 2:.2f} points"


def test_the_legend_has_curves_that_only_the_second_card_has(card, other):
    """A card that had no time has no curves, and matplotlib warns of a legend without lines."""
    none = dataclasses.replace(other, curves={}, protections={})
    assert "weights stuck at 0, share" in comparison.page_of_two(none, card).figures[0][0]
