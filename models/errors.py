"""Failures that are told in one line, whoever meets them."""


class ArtifactError(ValueError):
    """An artifact is not what it says of itself; told in one line, with what to do."""


class TrainingDivergedError(ValueError):
    """The loss or a weight is no finite number any more: other settings are to be given."""
