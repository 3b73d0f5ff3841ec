from typing import Any

import pytest

from channels import control
from channels.live.asking import aask_connections
from channels.live.looking import Query


async def test_pages_are_cut_from_what_all_processes_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(process: str, *ages: float) -> dict[str, Any]:
        rows = [{"consumer": "x.Y", "age": age} for age in ages]
        return {"process": process, "answer": {"found": len(rows), "rows": rows}}

    async def aask(command: str, **data: Any) -> list[dict[str, Any]]:
        assert data["query"]["limit"] == 3
        rubbish = {"process": "c", "answer": {"found": "many"}}
        return [answer("a", 5, 1), rubbish, answer("b", 4, 3), answer("a", 9), {}]

    monkeypatch.setattr(control, "aask", aask)
    total, rows = await aask_connections(Query(limit=2), offset=1)
    assert total == 4
    assert [(process, row.age) for process, row in rows] == [("b", 4), ("b", 3)]
