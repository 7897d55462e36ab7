"""octosteps: Python step templates for Octopus Deploy, from YAML specs to projects that cooperate."""
