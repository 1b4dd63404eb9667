"""Tests of fastdiff.io."""
