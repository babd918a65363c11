"""Data in, Bokeh figures out; no Panel, no archive."""
