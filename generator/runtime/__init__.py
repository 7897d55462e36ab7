"""What is shipped into scripts: the bundler copies the definitions that an entry script reaches into one file.

Every module here imports only the standard library and `from generator.runtime.X import name`, does nothing when it is
imported, runs on CPython 3.8 to 3.14, and shares one flat namespace with its siblings: no two define the same name.
"""
