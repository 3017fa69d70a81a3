"""Where Beam's work runs: in this process, or on an engine that is reached over Beam's portable interface."""
