"""The commands of `nodebench`: a module each, with `run(argv) -> exit code`."""
