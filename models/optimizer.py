"""Muon for convolution kernels, SGD with Nesterov momentum for everything else, in one Keras optimizer.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by its nearest
semi-orthogonal matrix, found with a few Newton-Schulz steps. A kernel [h, w, in, out] counts as the matrix
[h*w*in, out] and is kept at Frobenius norm sqrt(out): a batch norm follows it, so only its direction matters. The
iteration costs a few percent of a step at batch 250 and up, half of that in bfloat16, which it is made to bear.

It supposes the residual network's build: without a norm behind it a kernel of fixed length cannot learn how much it
has to say, and every matrix counts as a head, so that one between two layers learns at a head's rate. What is built
otherwise (`training.network.norm=false`, the network "plain") learns better by Adam (docs/hyperparameters.md).

Synopsis:

    model.compile(Muon(learning_rate=0.1), "categorical_crossentropy")      # or a schedule, models.schedule
"""

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("fashion")
class Muon(keras.optimizers.Optimizer):
    """`learning_rate` is that of the kernels; biases and the head learn at `bias_ratio` and `head_ratio` times it.

    The Newton-Schulz steps are computed in `newton_schulz_dtype`; gradients, momentum and weights keep their own.
    """

    def __init__(
        self,
        learning_rate=0.1,
        momentum: float = 0.6,
        sgd_momentum: float = 0.85,
        bias_ratio: float = 0.25,
        head_ratio: float = 3.0,
        newton_schulz_steps: int = 3,
        newton_schulz_dtype: str = "float32",
        name: str = "muon",
        **kwargs,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.sgd_momentum = momentum, sgd_momentum
        self.bias_ratio, self.head_ratio = bias_ratio, head_ratio
        self.newton_schulz_steps, self.newton_schulz_dtype = newton_schulz_steps, newton_schulz_dtype

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.velocities = [self.add_variable_from_reference(variable, name="velocity") for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        velocity = self.velocities[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype)
        is_kernel = len(variable.shape) == 4
        momentum = self.momentum if is_kernel else self.sgd_momentum
        velocity.assign(momentum * velocity + gradient)
        step = gradient + momentum * velocity
        if is_kernel:
            outputs = variable.shape[-1]
            matrix = ops.cast(ops.reshape(step, (-1, outputs)), self.newton_schulz_dtype)
            update = orthogonalize(matrix, self.newton_schulz_steps)
            update = ops.reshape(ops.cast(update, variable.dtype), variable.shape)
            normed = variable * (outputs**0.5 / ops.norm(ops.reshape(variable, (-1,))))
            variable.assign(normed - rate * update)
        else:
            rate = rate * (self.head_ratio if len(variable.shape) == 2 else self.bias_ratio)
            variable.assign(variable - rate * step)

    def get_config(self):
        names = (
            "momentum",
            "sgd_momentum",
            "bias_ratio",
            "head_ratio",
            "newton_schulz_steps",
            "newton_schulz_dtype",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def orthogonalize(matrix, steps):
    """Gives about U V^T of the SVD U S V^T of `matrix` [rows, columns] by quintic Newton-Schulz steps."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix / (ops.norm(matrix) + 1e-7)
    for _ in range(steps):
        # Of the shorter side; the product transposes as it reads.
        gram = tf.matmul(x, x, transpose_a=tall, transpose_b=not tall)
        factor = -4.7750 * gram + 2.0315 * tf.matmul(gram, gram)
        x = 3.4445 * x + (tf.matmul(x, factor) if tall else tf.matmul(factor, x))
    return x
