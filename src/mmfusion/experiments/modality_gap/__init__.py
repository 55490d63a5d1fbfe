"""The gap between the modalities of a run's model, before and after training: numbers and pictures."""
