"""Tests of fastdiff.samplers."""
