"""The trace of a program: every operation with its value, its producers and its place in the source."""

from parity.trace.graph import Kind, Node, Trace

__all__ = ["Kind", "Node", "Trace"]
