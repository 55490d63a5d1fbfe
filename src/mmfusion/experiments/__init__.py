"""Runs: their settings and recipes, their folder, their evaluation and what is predicted with them."""
