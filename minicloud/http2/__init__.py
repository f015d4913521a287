"""HTTP/2 connections on Trio."""

from __future__ import annotations
