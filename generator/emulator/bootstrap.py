"""The Python files that stand between Octopus and a script, in our own words: same names, same printed text, same quirks.

Octopus starts two processes: one makes sure that pycryptodome is there, the other decrypts the variables, defines the helper
functions and runs the script with them as its globals. Owns the text of those files; `runner` writes and starts them.

Source of every behaviour: Calamari, source/Calamari.Common/Features/Scripting/Python (Bootstrapper, InstallDependencies,
Configuration); OctopusDeploy/Issues 8175 for the missing variable; Calamari pull requests 925 and 939 for `updateprogress`.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping

from Crypto.Cipher import AES
from Crypto.Util.Padding import pad

KEY_LENGTH = 32  # bytes: AES-256

# The real installer runs `pip install pycryptodome --user` here. We never install anything: it fails as pip would.
INSTALL_DEPENDENCIES = """\
import sys


def printverbose(message):
    print("##octopus[stdout-verbose]")
    print(message)
    print("##octopus[stdout-default]")


printverbose("Checking for dependency pycryptodome")
try:
    import Crypto.Cipher.AES
except Exception:
    print("Unable to install package pycryptodome using pip.", file=sys.stderr)
    print(
        "If you do not have pip you can install pycryptodome using your favorite python package manager.",
        file=sys.stderr,
    )
    exit(1)
printverbose("pycryptodome was found")
"""

# Every name defined here is a global of the script, so there is none that Octopus does not have.
_HELPERS = """\
import base64
import binascii
import os.path
import sys

from Crypto.Cipher import AES


def unpad(padded):
    return padded[: len(padded) - padded[-1]]


def encode(value):
    return base64.b64encode(value.encode("utf-8")).decode("ascii")


def decode(value):
    return base64.b64decode(value).decode("utf-8")


def decrypt(encrypted, iv):
    key = binascii.unhexlify(sys.argv[-1])
    cipher = AES.new(key, AES.MODE_CBC, binascii.unhexlify(iv))
    return unpad(cipher.decrypt(base64.b64decode(encrypted))).decode("utf-8")


def get_octopusvariable(key):
    return {lookup}


def set_octopusvariable(name, value, sensitive=False):
    octopusvariables[name] = value
    message = "##octopus[setVariable name='%s' value='%s'" % (encode(name), encode(value))
    if sensitive:
        message += " sensitive='%s'" % encode("True")
    print(message + "]")


def createartifact(path, fileName=None):
    if fileName is None:
        fileName = os.path.basename(path)
    name = encode(fileName)
    length = encode(str(os.stat(path).st_size) if os.path.isfile(path) else "0")
    path = os.path.abspath(path)
    printverbose("Artifact %s will be collected from %s after this step completes" % (fileName, path))
    print("##octopus[createArtifact path='%s' name='%s' length='%s']" % (encode(path), name, length))


def updateprogress(progress, message=None):
    percentage, message = encode(str(progress)), encode(message)
    print("##octopus[progress percentage='%s' message='%s']" % (percentage, message))


def failstep(message=None):
    if message is not None:
        print("##octopus[resultMessage message='%s']" % encode(message))
    exit(-1)


def printverbose(message):
    print("##octopus[stdout-verbose]")
    print(message)
    print("##octopus[stdout-default]")


def printhighlight(message):
    print("##octopus[stdout-highlight]")
    print(message)
    print("##octopus[stdout-default]")


def printwait(message):
    print("##octopus[stdout-wait]")
    print(message)
    print("##octopus[stdout-default]")


def printwarning(message):
    print("##octopus[stdout-warning]")
    print(message)
    print("##octopus[stdout-default]")


printverbose(sys.version)

"""
_LENIENT = 'octopusvariables.get(key, "")'
_STRICT = "octopusvariables[key]"  # servers before 2023.3.1477


def configure_text(variables: Mapping[str, str], key: bytes, *, missing_raises: bool = False) -> str:
    """The Configure file, ASCII: the helper functions and every variable, its value encrypted with `key`.

    `missing_raises`: `get_octopusvariable` raises KeyError for a missing name, as it did before server 2023.3.1477.
    """
    entries = ",".join(
        f'decode("{_base64(name.encode())}"):{_encrypted(value, key)}' for name, value in variables.items()
    )
    helpers = _HELPERS.replace("{lookup}", _STRICT if missing_raises else _LENIENT)
    return f"{helpers}octopusvariables = {{{entries}}}\n"


def bootstrap_text(configure_file: str, script_file: str) -> str:
    """The file that is started: it runs Configure, then the script as `__main__` with what Configure defined."""
    return (
        "from runpy import run_path\n"
        f"configuration = run_path({configure_file!r})\n"
        f"run_path({script_file!r}, configuration, '__main__')\n"
    )


def _encrypted(value: str, key: bytes) -> str:
    vector = os.urandom(AES.block_size)
    cipher = AES.new(key, AES.MODE_CBC, vector)
    packed = cipher.encrypt(pad(value.encode("utf-8", errors="replace"), AES.block_size))
    return f'decrypt("{_base64(packed)}","{vector.hex().upper()}")'


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
