"""A page of HTML about a folder of runs that needs nothing beside it: what was run and found, and how to do it again.

Everything that somebody else may have written (names of runs, values of configs, reasons) goes through `markup`, which
escapes what is not markup by its type, or through `data`, which no browser reads as code.
"""
