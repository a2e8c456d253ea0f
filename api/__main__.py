"""``python -m api``: the same as ``tally``."""

import sys

from api.command_line import main

sys.exit(main())
