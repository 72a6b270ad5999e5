"""Names of places in an agent's own concurrency (rule K3).

A branch is a path: the root is "", a child task is its parent's path plus "/" and its index.
Frameworks with stable names of their own put them in as components; a component "name#n" says
that this is the n-th round of ``name`` and that round n+1 starts when round n is over (LangGraph's
supersteps).
"""

from __future__ import annotations


def child(path: str, index: int | str) -> str:
    """The path of a branch that was forked from ``path``."""
    return f"{path}/{index}"


def under(path: str, branch: str) -> bool:
    """Whether ``path`` is ``branch`` or was forked from it."""
    return path == branch or not branch or path.startswith(branch + "/")


def stable(path: str) -> str:
    """The part of a branch's name that every attempt agrees on: indexes given by arrival are left
    out, so that siblings who come in another order are still recognised by what they ask."""
    if not any(map(str.isdigit, path)):
        return path
    return "/".join("*" if part.isdigit() else part for part in path.split("/"))


def continues(later: str, earlier: str) -> bool:
    """Whether code in branch ``later`` runs with the knowledge of how ``earlier`` ended.

    True for the branch itself, for the branch it was forked from (which joins it), and for a
    later round at the place where the two paths part.
    """
    if under(earlier, later):
        return True
    for a, b in zip(later.split("/"), earlier.split("/"), strict=False):
        if a == b:
            continue
        name_a, sign, round_a = a.rpartition("#")
        name_b, _, round_b = b.rpartition("#")
        return (
            sign == "#"  # two siblings told apart by arrival know nothing of each other
            and name_a == name_b
            and round_a.isdigit()
            and round_b.isdigit()
            and int(round_a) > int(round_b)
        )
    return False
