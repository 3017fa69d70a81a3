"""Which setting matters: trainings around a preset, one setting at a time and in chosen pairs, over several seeds."""
