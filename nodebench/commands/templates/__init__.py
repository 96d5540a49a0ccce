"""What `nodebench new` writes: a module and a config for each kind, NAME and Name standing for what the user says.

Each is complete and trains as it is; tests/commands/test_new.py trains them all.
"""
