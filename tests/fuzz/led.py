"""One target in this process, led by coverage: python -m tests.fuzz.led TARGET [options of libFuzzer]."""

import sys

import atheris

with atheris.instrument_imports(include=["ralf_hub"]):  # what is imported before it is not instrumented
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, next(target.run for target in TARGETS if target.name == name))
    atheris.Fuzz()
