"""Sizes that several parts count in."""

from __future__ import annotations

MIB = 1024 * 1024
