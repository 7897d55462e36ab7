"""Octostache, the expressions in Octopus' variable values and script files.

`grammar` reads a text into `tokens`, `evaluation` writes it with the variables' values, `filters` is the table of filters,
`dotnet` and `loose_json` are the small parts of .NET and Newtonsoft.Json that shine through.

Source of every rule: the Octostache repository at commit 5a08233 (TemplateParser, TemplateEvaluator, EvaluationContext,
PropertyListBinder, BuiltInFunctions) and the docs pages "Variable substitutions" and "Variable filters".

Not imitated: the Markdown filter (its token stays as it is), .NET's regular expressions where Python's differ, cultures
other than the invariant one, dates inside JSON (Newtonsoft rewrites them), the wording of parse errors. Where .NET would
throw for the input of a filter, the token stays as it is.
"""

from generator.emulator.octostache.evaluation import (
    Evaluation,
    SelfReferenceError,
    Variables,
    evaluate,
    is_truthy,
)

__all__ = ["Evaluation", "SelfReferenceError", "Variables", "evaluate", "is_truthy"]
