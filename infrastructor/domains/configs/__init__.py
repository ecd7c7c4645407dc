"""Files that configure a machine: their history, differences, and changing them safely."""
