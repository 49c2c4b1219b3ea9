"""Claims: the rule by hand, each claim borne out and contradicted, and what must not count."""

import dataclasses

import pytest

from ft_tf.report import blocks, claims, paper
from ft_tf.report.claims import frames, page
from ft_tf.report.claims.confirmed import confirmed
from ft_tf.report.claims.model import Evidence, judge
from ft_tf.report.comparison import Comparison

CIFAR = {"architecture": "cifar10_cnn", "dataset": "cifar10"}


def comparison(difference, p, counts=(3, 3)):
    return Comparison(0.1 + difference, 0.1, difference, -1.0, 1.0, p, counts, "given")


def given(*entries):
    """A claim whose evidence is given: (difference, p, sign, is_out)."""
    found = [
        Evidence(f"{place}", "gap", comparison(difference, p), sign, is_out=is_out)
        for place, (difference, p, sign, is_out) in enumerate(entries)
    ]
    return dataclasses.replace(claims.CLAIMS[0], evidence=lambda records: found)


@pytest.mark.parametrize(
    ("entries", "verdict", "bearings"),
    [
        ((), "not run", []),
        (((0.1, 0.001, 0, False),), "not run", ["not counted"]),  # context alone
        (((0.1, 0.001, 1, True),), "untested", ["not counted"]),  # nothing that counts
        (((0.1, 0.001, 1, False),), "borne out", ["for"]),
        (((-0.1, 0.001, -1, False),), "borne out", ["for"]),
        (((-0.1, 0.001, 1, False),), "contradicted", ["against"]),
        (((0.1, None, 1, False),), "undecided", ["undecided"]),  # one seed against one
        (((0.1, 0.04, 1, False), (0.1, 0.04, 1, False)), "undecided", ["undecided"] * 2),  # Holm
        (((0.1, 0.02, 1, False), (0.1, 0.9, 1, False)), "borne out", ["for", "undecided"]),
        (
            ((0.1, 0.001, 1, False), (0.1, 0.9, 1, False), (0.1, 0.9, 1, False)),
            "undecided",  # less than half speak
            ["for", "undecided", "undecided"],
        ),
        (
            ((0.1, 0.001, 1, False), (-0.1, 0.001, 1, False)),
            "undecided",
            ["for", "against"],
        ),
    ],
)
def test_the_rule(entries, verdict, bearings):
    judged = judge(given(*entries), [])
    assert judged.verdict == verdict
    assert [entry.bearing for entry in judged.evidence] == bearings


def test_what_does_not_count_takes_no_part_in_the_correction():
    counted, context = (0.1, 0.04, 1, False), (0.1, 0.04, 0, False)
    assert judge(given(counted, *[context] * 9), []).verdict == "borne out"


def verdict_of(id, records):
    (claim,) = [claim for claim in claims.CLAIMS if claim.id == id]
    return judge(claim, records)


def test_without_records_every_claim_is_not_run():
    judged = claims.judge_all([])
    assert [entry.claim.id for entry in judged] == [
        "input_noise",
        "robust_tolerance",
        "dp_tolerance",
        "theorem_1",
        "dp_gap",
        "robust_overfit",
        "more_epsilon",
        "robust_faults",
    ]
    assert {entry.verdict for entry in judged} == {"not run"}


def test_one_seed_of_each_decides_nothing(paper_run):
    records = [
        paper_run(row=f"table_5/fmnist_dnn/{name}", algorithm=name, train=train, shift=shift)
        for name, train, shift in (
            ("natural", 0.95, 0.5),
            ("tikhonov", 0.90, 0.4),
            ("trades", 0.99, 0.8),
        )
    ]
    for id in ("robust_tolerance", "robust_overfit", "robust_faults"):
        judged = verdict_of(id, records)
        assert judged.verdict == "undecided"
        assert "one seed against one" in judged.reason


def robust_study(paper_run, *, shift, train, seeds=4, **changes):
    records = []
    for seed in range(seeds):
        wobble = 0.001 * (seed - 1.5)
        for name, own_train, own_shift in (
            ("natural", 0.95, 0.5),
            ("tikhonov", 0.92, 0.5),
            ("trades", train, shift),
        ):
            records.append(
                paper_run(
                    row=f"table_5/fmnist_dnn/{name}",
                    algorithm=name,
                    seed=seed,
                    train=own_train + wobble,
                    test=0.88,
                    shift=own_shift + wobble,
                    **changes,
                )
            )
    return records


@pytest.mark.parametrize(
    ("shift", "train", "verdict"), [(0.8, 0.99, "borne out"), (0.2, 0.90, "contradicted")]
)
def test_robust_claims_follow_the_runs(paper_run, shift, train, verdict):
    records = robust_study(paper_run, shift=shift, train=train)
    assert verdict_of("robust_tolerance", records).verdict == verdict
    assert verdict_of("robust_overfit", records).verdict == verdict
    assert verdict_of("robust_faults", records).verdict == verdict


@pytest.mark.parametrize(
    ("gap_there", "verdict"), [(0.05, "contradicted"), (0.02, "undecided"), (0.001, "undecided")]
)
def test_a_short_training_is_not_read_as_less_overfitting(paper_run, gap_there, verdict):
    """TRADES ends at 90% with a gap of 2 points, natural training at 95% with one of 7."""
    records = robust_study(paper_run, shift=0.2, train=0.90)
    for record in records:
        if record["config"]["algorithm"]["name"] == "natural":
            there = gap_there + 0.0005 * record["config"]["seed"]
            record["history"] = {
                "epoch": [1, 2, 3],
                "train_accuracy": [0.85, 0.91, record["accuracy"]["train"]],
                "test_accuracy": [0.85 - there, 0.91 - there, record["accuracy"]["test"]],
            }
    judged = verdict_of("robust_overfit", records)
    counted, there = judged.evidence[0], judged.evidence[1]
    assert judged.verdict == verdict
    assert judged.unconfirmed == "contradicted (0 for, 1 against, 0 undecided)"
    assert counted.comparison.difference == pytest.approx(-0.05)
    assert there.comparison.difference == pytest.approx(0.02 - gap_there - 0.00075)
    expected = 1.0 if there.comparison.difference > 0 else there.comparison.p_value
    assert counted.p_holm == pytest.approx(max(expected, counted.comparison.p_value))


def without_curves(records, *, epochs=2):
    for record in records:
        record["history"] = {"epoch": list(range(1, epochs + 1))}
    return records


@pytest.mark.parametrize(("train", "verdict"), [(0.90, "undecided"), (0.99, "borne out")])
def test_a_natural_training_without_a_curve_confirms_nothing(paper_run, train, verdict):
    """It ends at 95%: above 90%, where it must have been; below 99%, where it never was."""
    records = without_curves(robust_study(paper_run, shift=0.5, train=train))
    judged = verdict_of("robust_overfit", records)
    assert judged.verdict == verdict
    missing = "no run at equal training accuracy to hold beside it"
    assert (missing in judged.evidence[0].remark) == (verdict == "undecided")


def put_at_chance(records, algorithm):
    for record in records:
        if record["config"]["algorithm"]["name"] == algorithm:
            campaign = record["faults"]["weights"]
            points = zip(campaign["rates"], campaign["mean"], strict=True)
            means = [0.11 if rate >= 0.5 else mean for rate, mean in points]
            campaign |= {
                "mean": means,
                "drop_50_to_90": {"drop": 0.001, "at_50": 0.11, "at_90": 0.109},
            }


def test_a_small_drop_at_chance_is_no_tolerance(paper_run):
    """TRADES falls to chance by 50%: its drop from there is nothing, and does not count."""
    records = robust_study(paper_run, shift=0.5, train=0.95)
    put_at_chance(records, "trades")
    judged = verdict_of("robust_faults", records)
    assert judged.verdict == "untested"
    assert "at chance by 50% faults" in judged.evidence[0].remark
    # What is kept over all rates has no such blind spot.
    weights = [
        e for e in verdict_of("robust_tolerance", records).evidence if "weights" in e.measure
    ]
    assert weights[0].bearing == "for"
    put_at_chance(records, "tikhonov")
    remark = verdict_of("robust_faults", records).evidence[0].remark
    assert remark.startswith("TRADES and Tikhonov at chance")
    assert "at 50% faults 11.00 against 11.00" in remark


def test_fitted_runs_never_count(paper_run):
    records = robust_study(paper_run, shift=0.8, train=0.99, fitted=True)
    judged = verdict_of("robust_overfit", records)
    assert judged.verdict == "untested"
    assert {entry.bearing for entry in judged.evidence} == {"not counted"}
    assert "fitted" in judged.evidence[0].remark


def test_the_scale_smoke_never_counts(paper_run):
    records = robust_study(paper_run, shift=0.8, train=0.99, label="table_5-smoke")
    for id in ("robust_overfit", "robust_tolerance", "robust_faults"):
        judged = verdict_of(id, records)
        assert judged.verdict == "untested"
        assert {entry.bearing for entry in judged.evidence} == {"not counted"}
        assert "everything runs and nothing else" in judged.evidence[0].remark
    assert not len(frames.disagreement_frame(records))


def test_a_fitted_or_smoke_run_does_not_bear_on_the_theorem(private_study):
    for record in private_study:
        record["config"]["label"] = "table_8-smoke"
        if record["privacy"]:
            record["privacy"]["theorem_1_replace_one"] = 0.5
    judged = verdict_of("theorem_1", private_study)
    assert judged.verdict == "untested"
    assert {entry.bearing for entry in judged.evidence} == {"not counted"}


def test_two_replicates_one_test_point_apart_contradict_nothing(circles):
    """Both gained one of 70 test points by noise of 0.01: p was 4.9e-15, "contradicted"."""
    stem = "table_3/circles_mlp"
    results = {
        f"{stem}/{row}": {"noise": noise, "sigma": 0.01, "train": [1.0, 1.0], "test": test}
        for row, noise, test in (
            ("natural", "natural", [51 / 70, 53 / 70]),
            ("additive_gaussian/0.01", "additive_gaussian", [50 / 70, 52 / 70]),
        )
    }
    judged = verdict_of("input_noise", [circles(results=results)])
    (entry,) = judged.evidence
    assert (judged.verdict, entry.bearing, entry.p_holm) == ("undecided", "undecided", None)
    assert entry.remark == (
        "train +0.00 points, test -1.43; all replicates equal: no spread to judge by"
    )
    assert "no spread to judge by throughout" in judged.reason


def test_dp_tolerance_is_judged_at_equal_accuracy(private_study):
    """In the factory's study DP loses less than its stopped partner; natural is context."""
    judged = verdict_of("dp_tolerance", private_study)
    assert judged.verdict == "borne out"
    counted = [entry for entry in judged.evidence if entry.counts]
    assert len(counted) == 4  # two rows, weights and units
    assert all("stopped" in entry.what for entry in counted)
    assert "own epsilon 5.25 (Poisson sampling" in counted[0].remark
    assert judged.unconfirmed == ""
    assert any(entry.remark == "context: at unequal accuracy" for entry in judged.evidence)
    without = [r for r in private_study if "natural_stopped" not in r["rows"][0]]
    assert verdict_of("dp_tolerance", without).verdict == "not run"


def test_pairs_at_unequal_accuracy_do_not_count(private_study):
    for record in private_study:
        if "natural_stopped" in record["rows"][0]:
            record["accuracy"]["test"] += 0.02
    judged = verdict_of("dp_tolerance", private_study)
    assert judged.verdict == "untested"
    assert "not at equal accuracy" in judged.evidence[0].remark


def test_of_pairs_only_those_at_equal_accuracy_count(private_study):
    """A point apart is equal, in floats too: 0.6997 + 0.01 < 0.7097."""
    for record in private_study:
        seed = record["config"]["seed"]
        if "natural_stopped" in record["rows"][0]:
            record["accuracy"]["test"] = 0.7097 if seed else 0.73
        elif record["config"]["algorithm"]["name"] == "dpsgd":
            record["accuracy"]["test"] = 0.6997
    seeds = len({record["config"]["seed"] for record in private_study})
    judged = verdict_of("dp_tolerance", private_study)
    counted = [entry for entry in judged.evidence if entry.counts]
    assert {entry.comparison.counts for entry in counted} == {(seeds - 1, seeds - 1)}
    assert f"in 1 of {seeds} seeds not at equal accuracy" in counted[0].remark
    assert "test accuracies differ by -1.00 points" in counted[0].remark


@pytest.mark.parametrize(
    ("wider", "verdict"),
    [
        (0.05, "borne out"),  # the stopped runs' gaps exceed those of DP
        (0.0, "undecided"),  # they equal them, by seed up to the factory's wobble
        (-0.05, "undecided"),  # they are smaller: privacy does not narrow the gap
    ],
)
def test_dp_narrows_the_gap_only_if_stopping_at_its_accuracy_does_not(
    private_study, wider, verdict
):
    for record in private_study:
        if "natural_stopped" in record["rows"][0]:
            record["accuracy"]["generalization_error"] += wider
    judged = verdict_of("dp_gap", private_study)
    assert judged.verdict == verdict
    assert judged.unconfirmed == "borne out (2 for, 0 against, 0 undecided)"
    counted = [entry for entry in judged.evidence if entry.counts]
    assert [entry.what.split(" against ")[1] for entry in counted] == ["natural"] * 2
    sign = "the other sign at equal test accuracy" in counted[0].remark
    assert sign == (wider < 0)
    remarks = {entry.remark.split(";")[0] for entry in judged.evidence if not entry.counts}
    assert remarks == {
        "context: at equal test accuracy",
        "context: clipping alone, which gives no privacy",
        "context: Tikhonov, which gives no privacy",
    }


def test_without_a_stopped_run_the_gap_of_dp_says_nothing(private_study):
    rest = [r for r in private_study if "natural_stopped" not in r["rows"][0]]
    judged = verdict_of("dp_gap", rest)
    assert judged.verdict == "undecided"
    assert judged.evidence[0].remark.endswith("no run at equal test accuracy to hold beside it")
    assert "no run at equal test accuracy to hold beside it throughout" in judged.reason
    few = [record for record in rest if record["config"]["seed"] < 2]
    remark = verdict_of("dp_gap", few).evidence[0].remark
    assert "fewer than 3 replicates; no run at equal test accuracy" in remark


def test_a_pair_at_unequal_accuracy_confirms_no_gap(private_study):
    """Its stopped runs have far larger gaps, and test two points too high."""
    for record in private_study:
        if "natural_stopped" in record["rows"][0]:
            record["accuracy"]["generalization_error"] += 0.05
            record["accuracy"]["test"] += 0.02
    judged = verdict_of("dp_gap", private_study)
    assert judged.verdict == "undecided"
    assert "no run at equal test accuracy" in judged.evidence[0].remark


def test_smoke_runs_have_no_verdict_without_confirmation_either(private_study):
    for record in private_study:
        record["config"]["label"] = "table_8-smoke"
    assert verdict_of("dp_gap", private_study).unconfirmed == ""


@pytest.mark.parametrize(
    ("end", "beside", "why"),
    [
        ((0.1, 0.001), (0.1, None), "at equal training accuracy: given"),
        ((0.1, None), (0.1, 0.001), "given"),
        ((0.1, 0.001), (-0.1, None), "at equal training accuracy: given"),  # one seed says nothing
    ],
)
def test_without_a_spread_on_both_sides_nothing_is_confirmed(end, beside, why):
    end, beside = (
        dataclasses.replace(comparison(*side), why_undecided="" if side[1] else "given")
        for side in (end, beside)
    )
    found = confirmed(Evidence("x", "gap", end, 1), beside, at="equal training accuracy")
    assert found.comparison.p_value is None
    assert found.comparison.why_undecided == why


def test_the_larger_p_counts_and_the_remark_says_so():
    for p_end, p_beside, expected in ((0.001, 0.04, 0.04), (0.04, 0.001, 0.04)):
        end, beside = comparison(-0.05, p_end), comparison(-0.01, p_beside)
        found = confirmed(Evidence("x", "gap", end, -1), beside, at="equal training accuracy")
        assert (found.comparison.p_value, found.unconfirmed) == (expected, end)
        assert ("larger one" in found.remark) == (p_beside > p_end)
        assert ("-1.000 ±100.000 points" in found.remark) == (p_beside > p_end)


@pytest.mark.parametrize(("beside", "signs"), [(-0.01, 1), (0.01, 0), (None, 0)])
def test_a_sign_counts_only_if_the_other_comparison_shares_it(beside, signs):
    end = comparison(-0.05, 0.001)
    other = None if beside is None else comparison(beside, 0.9)
    found = confirmed(Evidence("x", "gap", end, -1), other, at="equal training accuracy")
    claim = dataclasses.replace(claims.CLAIMS[0], evidence=lambda records: [found])
    judged = judge(claim, [])
    assert f"({signs} have the claim's sign)" in judged.reason
    assert judged.unconfirmed == "borne out (1 for, 0 against, 0 undecided)"


def test_a_bound_of_a_hundred_points_is_no_evidence(private_study):
    judged = verdict_of("theorem_1", private_study)
    assert judged.verdict == "untested"
    assert "no comparison counts" in judged.reason
    assert any("every gap obeys it" in entry.remark for entry in judged.evidence)


@pytest.mark.parametrize(("bound", "verdict"), [(0.5, "borne out"), (0.001, "contradicted")])
def test_a_bound_that_says_something_is_tested(private_study, bound, verdict):
    for record in private_study:
        if record["privacy"]:
            record["privacy"]["theorem_1_replace_one"] = bound
    assert verdict_of("theorem_1", private_study).verdict == verdict


def ball(paper_run, value, gap, seeds, beta=6.0):
    numerator = int(value.split("_")[0])
    return [
        paper_run(
            row=f"table_6/cifar10_cnn/trades/{value}",
            algorithm="trades",
            options={"epsilon": numerator / 255, "beta": beta},
            seed=seed,
            train=0.7 + gap + 0.001 * seed,
            test=0.7,
            **CIFAR,
        )
        for seed in range(seeds)
    ]


def test_more_epsilon_needs_more_than_one_seed(paper_run):
    gaps = {"2_255": 0.08, "4_255": 0.11, "8_255": 0.17}
    one = [record for value, gap in gaps.items() for record in ball(paper_run, value, gap, 1)]
    judged = verdict_of("more_epsilon", one)
    assert (judged.verdict, len(judged.evidence)) == ("undecided", 3)
    three = [record for value, gap in gaps.items() for record in ball(paper_run, value, gap, 3)]
    assert verdict_of("more_epsilon", three).verdict == "borne out"
    turned = [
        record for value, gap in gaps.items() for record in ball(paper_run, value, 0.3 - gap, 3)
    ]
    assert verdict_of("more_epsilon", turned).verdict == "contradicted"


def test_balls_stand_side_by_side_where_they_know_as_much(paper_run):
    (small,), (large,) = ball(paper_run, "2_255", 0.25, 1), ball(paper_run, "8_255", 0.05, 1)
    small["history"] = {
        "epoch": [1, 2, 3],
        "train_accuracy": [0.6, 0.78, 0.95],
        "test_accuracy": [0.6, 0.68, 0.7],
    }
    at_the_end, there = verdict_of("more_epsilon", [small, large]).evidence
    assert at_the_end.comparison.difference == pytest.approx(0.05 - 0.25)
    share = (0.75 - 0.6) / (0.78 - 0.6)
    assert there.comparison.difference == pytest.approx(0.05 - share * (0.78 - 0.68))
    assert there.sign == 0
    assert "the smaller ball's training as it reached 75.00%" in there.remark


def test_balls_of_different_beta_are_not_compared(paper_run):
    records = ball(paper_run, "2_255", 0.1, 2) + ball(paper_run, "8_255", 0.2, 2, beta=1.0)
    assert verdict_of("more_epsilon", records).verdict == "not run"


def test_input_noise_is_paired_by_replicate(circles):
    stem = "table_3/circles_mlp"
    base = [0.70, 0.80, 0.60, 0.90, 0.75]

    def study(advantage):
        tests = {
            "natural": ("natural", 0.0, base),
            "additive_gaussian/0.01": ("additive_gaussian", 0.01, [v + advantage for v in base]),
            "additive_gaussian/0.5": ("additive_gaussian", 0.5, [v - 0.3 for v in base]),
        }
        results = {
            f"{stem}/{row}": {"noise": noise, "sigma": sigma, "train": [1.0] * 5, "test": test}
            for row, (noise, sigma, test) in tests.items()
        }
        results[f"{stem}/additive_gaussian/0.01"]["test"][0] += 0.001
        return [circles(results=results)]

    judged = verdict_of("input_noise", study(0.01))
    assert judged.verdict == "borne out"
    assert [entry.bearing for entry in judged.evidence] == ["for", "not counted"]
    assert verdict_of("input_noise", study(-0.01)).verdict == "contradicted"


def test_the_papers_own_numbers_are_read_from_its_table():
    texts = {claim.id: " ".join([claim.printed(), *claim.counter()]) for claim in claims.CLAIMS}
    assert (
        "TRADES at 2/255 has a gap of 8.19 points, below Table 4's natural 9.26"
        in (texts["robust_overfit"])
    )
    assert "Tikhonov has a gap of 0.69 points at 89.43% test accuracy" in texts["dp_gap"]
    assert "below its best DP row (0.75 at 76.09%)" in texts["dp_gap"]
    assert "1.4 points, and one of the 70 test points is 1.4" in texts["input_noise"]
    assert "63.2 points at 0.49" in texts["theorem_1"]
    assert "26.93 points, Tikhonov 1.14" in texts["robust_faults"]


def test_disagreements_take_the_variant_that_comes_nearest(run):
    row = "table_5/fmnist_cnn/trades"  # the paper's gap is 8.86
    records = [
        run(row=row, algorithm="trades", architecture="fmnist_cnn_1", train=0.9, test=0.88),
        run(row=row, algorithm="trades", architecture="fmnist_cnn_2", train=0.96, test=0.88),
        run(train=0.99, test=0.80),  # 19 against 8.60
    ]
    frame = frames.disagreement_frame(records)
    assert frame["row"].tolist() == ["table_5/fmnist_dnn/natural", row]
    nearest = frame.to_dict("records")[1]
    assert nearest["gap_difference"] == pytest.approx(0.08 - 0.0886)
    assert nearest["variant"] == "architecture fmnist_cnn_2"
    assert "-6.86 points" in nearest["tried"] and "-0.86 points" in nearest["tried"]
    assert "normalised space" in nearest["cause"]


def test_a_fitted_variant_hides_no_disagreement_but_is_told_among_what_was_tried(run):
    row = "table_8/fmnist_dnn/dpsgd/0.49"  # the paper's gap is 1.01 points
    records = [run(row=row, train=0.75, test=0.70), run(row=row, train=0.81, test=0.80)]
    records[1]["config"] |= {"fitted": True, "learning_rate": 0.05}
    (line,) = frames.disagreement_frame(records).to_dict("records")
    assert 100 * line["gap_difference"] == pytest.approx(5 - 1.01)
    assert "-0.01 points" in line["tried"]


def test_a_row_that_is_printed_twice_is_one_disagreement(run):
    record = run(algorithm="trades", train=0.75, test=0.7, **CIFAR)
    record["rows"] = ["table_4/cifar10_cnn/trades", "table_6/cifar10_cnn/trades/8_255"]
    assert frames.disagreement_frame([record])["row"].tolist() == ["table_4/cifar10_cnn/trades"]


def test_what_was_tried_takes_in_the_arms_that_bear_on_the_row(private_study):
    frame = frames.disagreement_frame(private_study).set_index("row")
    tried = frame.loc["table_8/fmnist_dnn/dpsgd/0.49", "tried"]
    assert "clipping only" in tried and "noise only" in tried
    assert "noise only" not in frame.loc["table_8/fmnist_dnn/dpsgd/2.97", "tried"]
    assert "dropout" not in frame.loc["table_8/fmnist_dnn/natural", "tried"]


def test_at_most_five_disagreements(run):
    records = [
        run(row=row.id, architecture=row.architecture, algorithm=row.algorithm)
        for row in paper.rows("table_5") + paper.rows("table_8")
        if row.architecture == "fmnist_dnn"
    ]
    assert len(frames.disagreement_frame(records)) == 5


def test_the_page_has_every_claim_with_its_evidence(private_study):
    judged = claims.judge_all(private_study)
    text = blocks.markdown(page.blocks(judged, private_study, "The summary."))
    for entry in judged:
        assert f"## {entry.claim.title}: {entry.verdict}" in text
    assert claims.RULE.replace("*", r"\*") in text
    assert "largest disagreements" in text
    assert text.count("The paper's own numbers against it") >= 6
