"""The engine: loop, optimizers, checkpoints, processes; it knows cases and models, and no run's folder."""
