"""What holds for all tests."""

from hypothesis import settings

# A property is true or not; how long an example takes on a busy machine says nothing of it. With a deadline the first
# and simplest example fails now and then, for whatever ran beside it.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")
