"""Targets in real workers: what a file, a folder or a module declares, and what is wrong with one."""

from __future__ import annotations

import json
import re

import pytest
from lab import Ear, Lab

from headrace.functions.errors import DeclarationError, SandboxError, TargetError
from headrace.sandbox.process import WorkerSpec
from headrace.sandbox.target import find_target

ONE = """
@function("orders")
def %s(data: dict) -> None:
    "Says what it does."
"""


async def test_the_manifest_of_a_file_says_what_it_declares(lab: Lab) -> None:
    lab.write(
        """
        class Order(BaseModel):
            id: str

        class Sent(BaseModel): ...

        @function("orders", "returns", emits={"emails": Sent}, timeout=5, sandbox=Sandbox(secrets=["TOKEN"]))
        async def confirm(order: Order) -> Sent:
            \"\"\"Tells the customer.

            Politely.
            \"\"\"
            return Sent()
        """,
        "shop.py",
    )
    manifest = await lab.manifest("shop.py")
    (spec,) = manifest.functions
    assert (spec.name, spec.topics, spec.emits, spec.types) == (
        "confirm",
        ["orders", "returns"],
        {"emails": ["Sent"]},
        ["Order"],
    )
    assert (spec.doc, spec.is_async, spec.timeout, spec.explicit) == (
        "Tells the customer.",
        True,
        5.0,
        ["emits", "sandbox", "timeout"],
    )
    assert spec.file == str(lab.folder / "shop.py")
    assert spec.grants.secrets == ["TOKEN"]
    assert json.loads(spec.schema or "")["required"] == ["id"]


async def test_a_docstring_that_is_no_text_does_not_keep_a_function_from_being_served(lab: Lab) -> None:
    lab.write("@function('t')\ndef f(a: dict):\n    'half \\ud800'\n")
    (spec,) = (await lab.manifest()).functions
    assert spec.doc == "half ?"


async def test_a_folder_is_its_modules_but_for_hidden_and_underscored_ones(lab: Lab) -> None:
    lab.write("from helper import name" + ONE % "one", "functions/a.py")
    lab.write("from _private import shared" + ONE % "two", "functions/b.py")
    lab.write("name = 1", "functions/helper.py")
    lab.write("shared = 1" + ONE % "three", "functions/_private.py")
    lab.write("1 / 0", "functions/.hidden.py")
    assert sorted(spec.name for spec in (await lab.manifest()).functions) == ["one", "two"]


async def test_a_package_is_imported_with_all_its_modules(lab: Lab) -> None:
    lab.write("", "shop/__init__.py")
    lab.write("1 / 0", "shop/__main__.py")
    lab.write("from .deep.inner import two" + ONE % "one", "shop/a.py")
    lab.write("", "shop/deep/__init__.py")
    lab.write(ONE % "two", "shop/deep/inner.py")
    for target in ("shop/", "shop"):
        assert sorted(spec.name for spec in (await lab.manifest(target)).functions) == ["one", "two"]


async def test_a_dotted_module_is_looked_for_where_it_was_started(lab: Lab) -> None:
    lab.write("", "shop/__init__.py")
    lab.write(ONE % "one", "shop/orders.py")
    lab.write(ONE % "two", "shop/bills.py")
    assert [spec.name for spec in (await lab.manifest("shop.orders")).functions] == ["one"]


async def test_the_fingerprint_changes_with_what_is_imported_and_with_nothing_else(lab: Lab) -> None:
    lab.write("import helper" + ONE % "one")
    lab.write("x = 1", "helper.py")
    first = (await lab.manifest()).code
    lab.write("y = 1", "unrelated.py")
    assert (await lab.manifest()).code == first
    worker, _ = await lab.start("import helper" + ONE % "one")
    assert worker.code == first
    lab.write("x = 2", "helper.py")
    assert (await lab.manifest()).code != first
    assert not list(lab.folder.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("source", "error", "parts"),
    [
        ("import nowhere_to_be_found", TargetError, ["functions.py:5: cannot be imported: ModuleNotFoundError"]),
        ("def f():\n    1 / 0\nf()", TargetError, ["functions.py:6: cannot be imported: ZeroDivisionError", "in f"]),
        ("def f(:", TargetError, ["functions.py:5: cannot be imported: SyntaxError"]),
        ("sys.exit()", TargetError, ["functions.py:5: cannot be imported: SystemExit; a module of functions must not"]),
        ("raise MemoryError", TargetError, ["functions.py:5: cannot be imported: MemoryError; load what is large"]),
        ("raise LookupError", TargetError, ["functions.py:5: cannot be imported: LookupError"]),
        ("x = 1", TargetError, ["functions.py: holds no function", "@function("]),
        ("Retry(attempts=0)", DeclarationError, ["functions.py:5: ", "attempts"]),
        ("RetryAfter(-1)", TargetError, ["functions.py:5: cannot be imported: ValueError"]),
        ("raise EmitRefused('odd')", DeclarationError, ["functions.py:5: odd"]),
        ("@function('orders')\ndef f(x): ...", DeclarationError, ["functions.py:5: ", "needs a type"]),
        (
            "@function('a')\ndef f(x: dict): ...\n@function('b', name='f')\ndef g(x: dict): ...",
            DeclarationError,
            ["functions.py:5 and ", "functions.py:7: two functions are named 'f'"],
        ),
        (
            "@function('a')\ndef f(x: dict): ...\n@function('shop.f.dlt')\ndef g(x: dict): ...",
            DeclarationError,
            ["functions.py:7: g subscribes to 'shop.f.dlt'"],
        ),
        ("time.sleep(0)\nos._exit(3)", SandboxError, ["functions.py: importing it ended the worker", "code 3"]),
    ],
)
async def test_what_is_wrong_with_a_module_is_told_with_its_place(
    lab: Lab, source: str, error: type[Exception], parts: list[str]
) -> None:
    lab.write(source)
    with pytest.raises(error) as caught:
        await lab.manifest()
    assert type(caught.value) is error
    for part in parts:
        assert part in str(caught.value)
    assert "headrace/sandbox" not in str(caught.value)


async def test_a_missing_module_is_told_from_a_missing_import(lab: Lab) -> None:
    with pytest.raises(TargetError, match="there is no module 'nowhere'"):
        await lab.manifest("nowhere")
    lab.write("import nowhere", "somewhere.py")
    with pytest.raises(TargetError, match=r"somewhere.py:5: cannot be imported"):
        await lab.manifest("somewhere")


@pytest.mark.parametrize(
    ("source", "file", "target", "says"),
    [
        ("from ..conf import A", "shop/sub/fns.py", "shop/sub/fns.py", r"part of a package: name all of it, \S*/shop$"),
        ("from ..conf import A", "shop/sub/fns.py", "shop/sub", r"part of a package: name all of it, \S*/shop$"),
        ("from .conf import A", "alone.py", "alone.py", r"in no package, and finds its neighbours without the dot$"),
        ("import shop.nowhere", "shop/fns.py", "shop", r"no such module in your package: correct the name"),
        ("import nowhere", "shop/fns.py", "shop", r"install it next to headrace \("),
    ],
)
async def test_an_import_that_finds_nothing_is_told_with_what_helps(
    lab: Lab, source: str, file: str, target: str, says: str
) -> None:
    for package in ("shop", "shop/sub"):
        lab.write("", f"{package}/__init__.py")
    lab.write("A = 1", "shop/conf.py")
    lab.write(source, file)
    with pytest.raises(TargetError) as caught:
        await lab.manifest(target)
    assert re.search(says, str(caught.value).splitlines()[0])


async def test_a_file_that_hides_a_module_of_python_is_refused(lab: Lab) -> None:
    lab.write(ONE % "one", "json.py")
    with pytest.raises(TargetError, match=r"json.py: a module named 'json' is part of Python .* rename"):
        await lab.manifest("json.py")


async def test_a_module_that_takes_too_long_is_ended(lab: Lab) -> None:
    lab.write("threading.Event().wait()")
    spec = WorkerSpec(find_target(None, lab.folder), None, "shop", "", {}, {})
    with pytest.raises(TargetError, match=r"importing it took more than 0\.5 s"):
        await lab.zygote.spawn(spec, Ear(), ready_timeout=0.5)


async def test_a_function_that_is_not_there_any_more_is_named(lab: Lab) -> None:
    lab.write(ONE % "one")
    spec = await lab.spec()
    lab.write(ONE % "two")
    with pytest.raises(TargetError, match="no function is named 'one' any more; it has: two"):
        await lab.zygote.spawn(spec, Ear())
