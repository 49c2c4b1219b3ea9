"""The summary of a run in the terminal: attacks can be told apart."""

import dataclasses

import example_records

from experiments._summary import summary


def attack(*, epsilon, steps, images, clean, robust, warnings=(), distance="l_inf"):
    return {
        **example_records.ATTACK,
        "epsilon": epsilon,
        "steps": steps,
        "images": images,
        "clean_accuracy": clean,
        "robust_accuracy": robust,
        "parameters": {"distance": distance},
        "warnings": list(warnings),
    }


def lines_of(*attacks):
    record = example_records.run(faults={}, robustness=list(attacks))
    return summary(record).splitlines()[2:]


def test_attacks_are_told_apart_by_steps_and_images():
    found = lines_of(
        attack(epsilon=0.05, steps=3, images=50, clean=0.74, robust=0.32),
        attack(epsilon=0.05, steps=40, images=1200, clean=0.765, robust=0.375),
        attack(epsilon=0.0, steps=3, images=50, clean=0.74, robust=0.74),
        attack(epsilon=1.5, steps=3, images=50, clean=0.74, robust=0.2, distance="l_2"),
    )
    assert found == [
        "  accuracy under pgd, l_inf epsilon 0.05, 3 steps, on the first 50 test images: 32.00%; "
        "not attacked: 74.00%",
        "  accuracy under pgd, l_inf epsilon 0.05, 40 steps, on the first 1,200 test images: "
        "37.50%; not attacked: 76.50%",
        "  accuracy under pgd, l_inf epsilon 0, 3 steps, on the first 50 test images: 74.00%; "
        "not attacked: 74.00%",
        "  accuracy under pgd, l_2 epsilon 1.5, 3 steps, on the first 50 test images: 20.00%; "
        "not attacked: 74.00%",
    ]


def test_an_attack_of_one_step_carries_its_warning():
    weak = attack(
        epsilon=0.05, steps=1, images=50, clean=0.74, robust=0.5, warnings=("too few steps",)
    )
    line, warning = lines_of(weak)
    assert ", 1 step, " in line
    assert warning == "    WARNING: too few steps"


def test_the_fault_is_named():
    record = example_records.run()
    other = {**record.config, "evaluation": {"fault": "sign_flip"}}
    for config, words in ((record.config, "stuck at 0"), (other, "faulty (sign_flip)")):
        found = summary(dataclasses.replace(record, config=config))
        assert f"  accuracy with weights {words}: 0%: " in found
