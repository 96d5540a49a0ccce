"""From a command line to checked values and objects. Below this room, no code sees a config."""
