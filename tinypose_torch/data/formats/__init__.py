"""Readers and writers of annotation formats, as the content of COCO files."""
