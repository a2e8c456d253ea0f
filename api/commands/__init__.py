"""The commands of ``tally``, one file per noun; each gives ``add_arguments(parser)`` and
``run(arguments) -> exit status``.

A command's module is imported when the command is asked for, so that ``tally verify`` and ``tally --help``
wait for nothing they do not use.
"""
