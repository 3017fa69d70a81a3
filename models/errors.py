"""The failure that readers of artifacts raise, whatever they read."""


class ArtifactError(ValueError):
    """An artifact is not what it says of itself; told in one line, with what to do."""
