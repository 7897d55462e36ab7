print("Payments go through " + get_octopusvariable("Payments.Gateway"))  # noqa: F821
createartifact("Script.py", "what ran.py")  # noqa: F821
