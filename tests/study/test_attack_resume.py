"""An AutoAttack in which a run was interrupted goes on after its finished stages."""

import dataclasses
import importlib

import numpy as np
import pytest

from ft_tf import architectures
from ft_tf.study import evaluation
from ft_tf.study.config import Evaluation, RunConfig

autoattack = importlib.import_module("ft_tf.attacks.autoattack")
CONFIG = RunConfig(
    dataset="fashion_mnist",
    architecture="fmnist_dnn",
    evaluation=Evaluation(attacks=("autoattack",), attack_epsilon=0.02, attack_images=6),
)


def test_finished_stages_are_not_run_again(stripes, tmp_path, monkeypatch):
    model = architectures.build("fmnist_dnn")
    save = autoattack._Kept.save

    def saved_then_interrupted(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupting:
        interrupting.setattr(autoattack._Kept, "save", saved_then_interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluation.robustness(model, stripes, CONFIG, tmp_path)
    with np.load(tmp_path / "autoattack-test.npz") as kept:
        assert list(kept["names"]) == ["APGD-CE"]
    ran = []
    stages = autoattack._stages

    def counted(*arguments):
        return [(name, lambda *a, n=name, f=run: (ran.append(n), f(*a))[1])
                for name, run in stages(*arguments)]  # fmt: skip

    monkeypatch.setattr(autoattack, "_stages", counted)
    (resumed,) = evaluation.robustness(model, stripes, CONFIG, tmp_path)
    assert ran == ["APGD-T", "FAB-T", "Square", "APGD-CE", "APGD-T", "FAB-T", "Square"]
    (tmp_path / "other").mkdir()
    (whole,) = evaluation.robustness(model, stripes, CONFIG, tmp_path / "other")
    assert dataclasses.replace(resumed, parameters=None) == dataclasses.replace(
        whole, parameters=None
    )
