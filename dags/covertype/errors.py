"""What the pipeline raises when it cannot go on."""


class PipelineError(Exception):
    """A step cannot be done; the message is a sentence that says what to do about it."""


class SettingError(PipelineError):
    """A variable or parameter has no sensible value; trying again does not help."""
