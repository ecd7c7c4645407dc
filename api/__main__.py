"""`python -m api`: the REST door alone. The same as `infrastructor serve api`."""

import sys

from infrastructor.app import open_application
from infrastructor.serve import Part, run
from infrastructor.settings import Settings

sys.exit(run(Settings(), open_application, Part.API))
