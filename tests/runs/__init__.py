"""Tests of fastdiff.runs."""
