from .conftest import person


async def test_names_are_asked_for_once(people, monkeypatch):
    from channels.contrib.admin import names

    asked = []

    async def look(keys):
        asked.append(keys)
        return {"1": "ada"} if "1" in keys else {}

    known = names.Names()
    monkeypatch.setattr(names, "_names", look)
    assert await known.of(["1", "2"]) == {"1": "ada"}
    assert await known.of(["2", "1"]) == {"1": "ada"}
    assert asked == [["1", "2"]]
    monkeypatch.setattr(names, "_KEPT", 2)
    assert await known.of(["3"]) == {}
    assert await known.of(["1"]) == {"1": "ada"}
    assert asked == [["1", "2"], ["3"], ["1"]]


async def test_names_come_from_the_database(people):
    from channels.contrib.admin.names import Names

    key = str(people["root"].pk)
    assert await Names().of([key, "0", "no number"]) == {key: "root"}


def test_a_name_is_fit_for_one_line(tables):
    from channels.contrib.admin.names import name_of

    assert name_of(str(person("a\nb").pk)) == "a\\nb"
    assert name_of("nobody") == ""
