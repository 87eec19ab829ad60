"""The registry's admin pages."""

from registry.admin import tables

__all__ = ["tables"]
