"""Fusion in three kinds: of feature maps inside encoders, of tokens, of one vector per modality."""
