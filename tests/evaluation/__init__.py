"""Tests of fastdiff.evaluation."""
