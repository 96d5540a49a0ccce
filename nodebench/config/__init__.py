"""From a command line to checked values and objects: compose, check, identity, build. Below this, no code sees a config."""
