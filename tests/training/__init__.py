"""Tests of fastdiff.training."""
