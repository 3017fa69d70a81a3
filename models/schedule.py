"""The learning-rate schedule: a linear rise to the peak, then a linear fall to `final` times the peak."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("fashion")
class Triangle(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from 0 over `warmup` (a share of `steps`) and falls until `steps`."""

    def __init__(self, peak, steps, warmup=0.1, final=0.0):
        self.peak, self.steps, self.warmup, self.final = peak, steps, warmup, final

    def __call__(self, step):
        progress = (ops.cast(step, "float32") + 0.5) / self.steps
        rise = progress / max(self.warmup, 1e-6)
        fall = 1 - (1 - self.final) * (progress - self.warmup) / (1 - self.warmup)
        return self.peak * ops.clip(ops.minimum(rise, fall), 0.0, 1.0)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup, "final": self.final}
