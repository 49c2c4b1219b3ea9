"""What holds for all tests."""

import hypothesis

# How long an example takes depends on what else the machine does: no test measures time.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
