"""Vendor APIs behind one port."""
