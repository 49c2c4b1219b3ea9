"""Training: natural, Tikhonov, input noise, TRADES and DP-SGD.

Each takes a Keras model and trains it by its own step, through Keras's `compile` and `fit`:

>>> from ft_tf import architectures, attacks, data, training
>>> circles = data.load("circles")
>>> private = training.DPSGDModel(
...     architectures.build("circles_mlp"), l2_norm_clip=1.0, noise_multiplier=2.0)
>>> private.compile("sgd", loss="binary_crossentropy")
>>> _ = private.fit(circles.x_train, circles.y_train, batch_size=10, epochs=5, verbose=0)
>>> account = private.privacy_account(delta=1e-3)
>>> account.cost.steps, round(account.epsilon, 2)
(15, 2.15)
>>> account.statement[:63]
'This run is (epsilon=2.155, delta=0.001)-differentially private'

>>> robust = training.TradesModel(architectures.build("circles_mlp"),
...     epsilon=0.1, step_size=0.02, num_steps=10, beta=1.0, bounds=(-2.0, 2.0))
>>> robust.compile("sgd")
>>> _ = robust.fit(circles.x_train, circles.y_train, batch_size=10, epochs=5, verbose=0)
>>> result = attacks.pgd(
...     robust.model, circles.x_test, circles.y_test, epsilon=0.1, bounds=(-2.0, 2.0))
>>> result.robust_accuracy <= result.clean_accuracy
True
"""

from ft_tf.training.dpsgd import DPSGDModel, ExponentialAverage, TailAverage
from ft_tf.training.input_noise import AdditiveGaussian, MultiplicativeGaussian
from ft_tf.training.natural import NaturalModel
from ft_tf.training.trades import TradesModel

__all__ = [
    "AdditiveGaussian",
    "DPSGDModel",
    "ExponentialAverage",
    "MultiplicativeGaussian",
    "NaturalModel",
    "TailAverage",
    "TradesModel",
]
