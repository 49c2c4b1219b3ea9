"""Which attack counts as the strongest, where a run was attacked again in other ways."""

import pytest

from ft_tf.report import tradeoff, views
from ft_tf.report.groups import groups_by_row
from ft_tf.report.strongest import strongest


def attack(robust, *, images=200, steps=20, epsilon=0.05, **changes):
    entry = {
        "attack": "pgd",
        "epsilon": epsilon,
        "steps": steps,
        "images": images,
        "clean_accuracy": 0.75,
        "robust_accuracy": robust,
        "robust_interval": [robust - 0.05, robust + 0.05],
        "parameters": {"distance": "l_inf"},
        "warnings": [],
    }
    return {**entry, **changes}


def attacked(run, *lists):
    records = [run(seed=seed, robustness=list(entries)) for seed, entries in enumerate(lists)]
    ((group,),) = groups_by_row(records).values()
    return records, strongest(group)


THREE = (attack(0.375), attack(0.375, steps=40), attack(0.32, steps=3, images=50))


def test_the_fewest_images_are_not_the_strongest_attack(run):
    """Three steps on 50 images gave 32%, forty on 200 gave 37.5%: the table had 32, n=2."""
    records, found = attacked(run, THREE, ())
    assert (found.epsilon, found.images) == (0.05, 200)
    assert list(found.accuracies.values()) == [0.375]
    assert found.attacks == "pgd of 20 steps, pgd of 40 steps"
    view = views.tradeoff(tradeoff.group_frame(records))
    cells = {f"{c.group} {c.header}".strip(): v
             for c, v in zip(view.columns, view.rows[0], strict=True)}  # fmt: skip
    assert (cells["attacked accuracy"], cells["attacked n"], cells["n"]) == ("37.50", "1", "2")
    assert (
        "attacked on the first 200 test images at epsilon 0.05, the lowest of: pgd of 20 steps, "
        "pgd of 40 steps" in view.details[0]
    )


def test_on_the_same_images_the_lowest_counts_with_all_warnings(run):
    weak = attack(0.5, steps=1, warnings=["too few steps"])
    _, found = attacked(run, [attack(0.4), weak, attack(0.3, attack="apgd", steps=100)])
    assert list(found.accuracies.values()) == [0.3]
    assert found.warnings == "too few steps"


def test_a_seed_that_was_attacked_more_often_does_not_look_weaker(run):
    stronger = attack(0.2, attack="apgd", steps=100)
    _, found = attacked(run, [attack(0.4), stronger], [attack(0.42)])
    assert sorted(found.accuracies.values()) == [0.4, 0.42]
    assert found.attacks == "pgd of 20 steps"


def test_the_radius_is_the_one_that_most_seeds_share(run):
    """Else one attack at a large radius on one seed would hide those of all others."""
    _, found = attacked(run, [attack(0.4), attack(0.0, epsilon=0.3)], [attack(0.42)])
    assert (found.epsilon, len(found.accuracies)) == (0.05, 2)
    _, alone = attacked(run, [attack(0.4), attack(0.0, epsilon=0.3)])
    assert (alone.epsilon, list(alone.accuracies.values())) == (0.3, [0.0])


def test_other_norms_and_unattacked_runs_have_none(run):
    _, found = attacked(run, [attack(0.1, parameters={"distance": "l_2"})], [])
    assert (found.epsilon, found.images, dict(found.accuracies)) == (None, None, {})


def test_points_of_the_figure_are_runs_under_one_attack(run):
    records, _ = attacked(run, THREE, [attack(0.3, images=50)], [attack(0.41)])
    frame = tradeoff.run_frame(records)
    robust = [None if value != value else value for value in frame["robust"]]
    assert robust == [0.375, None, 0.41]
    assert frame["attack_images"].dropna().tolist() == [200, 200]


def test_a_group_without_attacks_has_no_count(run):
    records, _ = attacked(run, [], [])
    (line,) = tradeoff.group_frame(records).to_dict("records")
    assert (line["robust"], line["attacked"]) == (None, 0)
    assert line["attacks"] == "" and pytest.approx(0.88) == line["test"]
