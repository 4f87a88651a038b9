"""The trace of a program: every operation with its value, its producers and its place in the source."""

from parity.trace.graph import Node, NodeKind, Trace

__all__ = ["Node", "NodeKind", "Trace"]
