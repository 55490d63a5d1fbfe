"""Export of a run: ONNX with its preprocessing and a script, a program of ``torch.export``, or a folder for a hub."""
