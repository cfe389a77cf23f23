"""Writes methods/facts.json from the classes: `python -m methods.make_facts`. Needs torch; the file does not."""

from __future__ import annotations

import json
from dataclasses import replace

from methods.facts import facts_of
from methods.passport import passport_of
from methods.registry import FACTS_FILE, METHODS, load


def facts_text() -> str:
    """The file's text, made from the classes as they are now."""
    records = {}
    for name in sorted(METHODS):
        method = load(name)
        records[name] = replace(facts_of(method, name), passport=passport_of(method())).to_json()
    return json.dumps(records, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FACTS_FILE.write_text(facts_text(), encoding="utf-8")
