"""Comparisons of methods: which runs they need, where those run, what they say together."""
