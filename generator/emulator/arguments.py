"""A command line cut into words, as .NET does it on Unix: that is what a step's ScriptParameters go through."""

from __future__ import annotations


def split_arguments(text: str) -> list[str]:
    r"""The words of a command line as .NET splits one on Unix.

    Double quotes group, a doubled one inside them is a quote, `\"` is a quote, other backslashes and single quotes are ordinary.
    Source: .NET, System.Diagnostics.Process.Unix, ParseArgumentsIntoList.
    """
    words: list[str] = []
    word: list[str] = []
    begun = quoted = False
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            run = len(text[position:]) - len(text[position:].lstrip("\\"))
            position += run
            begun = True
            if position < len(text) and text[position] == '"':
                word.append("\\" * (run // 2))
                if run % 2:
                    word.append('"')
                    position += 1
            else:
                word.append("\\" * run)
            continue
        if character == '"':
            begun = True
            if quoted and text[position + 1 : position + 2] == '"':
                word.append('"')
                position += 1
            else:
                quoted = not quoted
        elif character in " \t" and not quoted:
            if begun:
                words.append("".join(word))
            word, begun = [], False
        else:
            begun = True
            word.append(character)
        position += 1
    if begun:
        words.append("".join(word))
    return words
