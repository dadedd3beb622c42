"""The extension; everything else stands in pyproject.toml."""

import shutil
import sys
import sysconfig
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ADVICE = """
fastpool's C extension was not built ({reason}).
It needs a C compiler and the headers of Python {version}:
    Debian, Ubuntu:  apt install gcc libc6-dev python{version}-dev
    Fedora, RHEL:    dnf install gcc glibc-devel python3-devel
"""


def supported() -> bool:
    """Where the extension runs; elsewhere the package is the standard library's classes under its own names."""
    return (
        sysconfig.get_platform() in ("linux-x86_64", "linux-aarch64")
        and sys.maxsize > 2**32
        and sys.implementation.name == "cpython"
    )


def extension() -> Extension:
    return Extension(
        "fastpool._core",
        sources=sorted(glob("csrc/core/*.c") + glob("csrc/py/*.c")),
        depends=sorted(glob("csrc/**/*.h", recursive=True)),
        include_dirs=["csrc"],
        extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread"],
        extra_link_args=["-pthread"],
    )


class BuildOrExplain(build_ext):
    """A pool that is silently slow would be worse than an install that fails."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # which one depends on the version of setuptools
            version = "{}.{}".format(*sys.version_info)
            raise SystemExit(f"{error}\n{ADVICE.format(reason=self.reason(), version=version)}") from error

    def reason(self) -> str:
        compiler = getattr(self.compiler, "compiler", ["cc"])[0]
        if shutil.which(compiler) is None:
            return f"no {compiler} on this machine"
        if not Path(sysconfig.get_path("include"), "Python.h").exists():
            return "no Python.h on this machine"
        return "the compiler's own message stands above"


setup(
    ext_modules=[extension()] if supported() else [],
    cmdclass={"build_ext": BuildOrExplain},
)
