"""The Keras callback: faults in an ordinary `model.evaluate`."""

from collections.abc import Callable
from typing import Any

from ft_tf._compat import keras
from ft_tf.checks import check_choice, check_fraction, check_non_negative_integer
from ft_tf.errors import ModelError
from ft_tf.faults.arming import Armament
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import ALLOCATIONS, make_plan
from ft_tf.faults.sites import TARGETS, Select
from ft_tf.models.usage import using


class FaultInjection(keras.callbacks.Callback):
    """Makes a model faulty for `model.evaluate(..., callbacks=[FaultInjection(...)])` only.

    The model is faulty within each evaluation step and clean between steps, so that nothing that
    interrupts an evaluation can leave faults behind: training, saving and any later evaluation
    find the clean bytes. Validation inside `fit` runs clean unless `during_validation` is set.
    The faults are those of `inject` and `sweep` at the same seed, trial and rate.

    Attributes:
        faults: faulty sites in the last evaluation; None before the first.
        trial: number of the trial; may be changed between evaluations.
    """

    def __init__(
        self,
        *,
        target: str,
        rate: float,
        seed: int,
        trial: int = 0,
        fault: FaultModel | None = None,
        allocation: str = "model",
        select: Select | None = None,
        during_validation: bool = False,
    ) -> None:
        super().__init__()
        check_choice(TARGETS, target=target)
        check_choice(ALLOCATIONS, allocation=allocation)
        check_fraction(rate=rate)
        check_non_negative_integer(seed=seed, trial=trial)
        self.trial = trial
        self.faults: int | None = None
        self._target, self._rate, self._seed = target, rate, seed
        self._plan_options = {"fault": fault, "allocation": allocation, "select": select}
        self._during_validation = during_validation
        self._in_fit = False
        self._step: _TestStep | None = None

    def set_model(self, model: keras.Model) -> None:
        """Puts itself into the model's evaluation step; Keras calls it before each run."""
        super().set_model(model)
        self._in_fit = False
        self._step = _TestStep(model)
        model.test_function = self._step

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Takes note that what follows is training."""
        self._in_fit = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves the model's evaluation step."""
        self._step.leave()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Draws the faults."""
        if self._in_fit and not self._during_validation:
            return
        if self.model.test_function is not self._step:
            raise ModelError("another FaultInjection callback is in use: give the model one only")
        plan = make_plan(self.model, target=self._target, **self._plan_options)
        masks = plan.trial(seed=self._seed, trial=self.trial).masks(self._rate)
        self.faults = masks.count
        with using(self.model, "arm"):
            self._step.arm(Armament(self.model, plan, masks))

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Lets the next step run with faults."""
        self._step.admitted = True

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Forgets the faults."""
        self._step.disarm()
        if not self._in_fit:
            self._step.leave()


class _TestStep:
    """A model's test function that computes with faults when admitted, once, and clean otherwise.

    Keras does not tell a callback that an evaluation has failed. So each faulty step needs an
    admission of its own: a later evaluation without the callback gives none and runs clean.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        model.make_test_function()
        function = model.test_function
        # Keras's own test function.
        self.clean = function.clean if isinstance(function, _TestStep) else function
        self._armament: Armament | None = None
        self._faulty: Callable[[Any], Any] | None = None
        self.admitted = False

    def arm(self, armament: Armament) -> None:
        self._armament = armament
        self._model.make_test_function(force=True)
        self._faulty = self._model.test_function  # traced under the faults
        self._model.test_function = self

    def disarm(self) -> None:
        self._armament = self._faulty = None
        self.admitted = False

    def leave(self) -> None:
        self.disarm()
        self._model.test_function = self.clean

    def __call__(self, iterator: Any) -> Any:
        admitted, self.admitted = self.admitted, False
        if not admitted or self._armament is None:
            return self.clean(iterator)
        with using(self._model, "arm"), self._armament.live():
            return self._faulty(iterator)
