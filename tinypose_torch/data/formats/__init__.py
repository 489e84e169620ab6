"""Readers and converters of annotation formats."""
