"""The commands of ``tally``, one file per noun; each gives ``add_arguments(parser)`` and ``run(arguments) -> exit status``."""
