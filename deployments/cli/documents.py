"""``promptyard documents``: what grounds the answers, by the gateway's API: no stale answer outlives a put."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.stack_home import connected_settings, stack_home

if TYPE_CHECKING:
    from deployments.cli.gateway_client import GatewayClient

PAGE = 500
"""Documents that one request lists."""

Collection = Annotated[str, typer.Argument(help="The collection; by convention the prompt's name.")]
DocumentId = Annotated[str, typer.Argument(metavar="ID", help="The document: its file's name without .md.")]
Json = Annotated[bool, typer.Option("--json", help="Print for machines.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Documents that ground the answers: put, get, list, delete.", no_args_is_help=True)
    group.command("put")(put)
    group.command("get")(get)
    group.command("list")(list_all)
    group.command("delete")(delete)
    app.add_typer(group, name="documents")


def put(
    collection: Collection,
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of .md; the first line is '# Title'.")],
    as_json: Json = False,
) -> None:
    """Store new versions of documents; a file that says what is stored already changes nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from deployments.cli.document_files import read_documents

    files = read_documents(paths)
    states: list[dict[str, Any]] = []
    notes = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    if len(files) > 1 and not notes.is_terminal:
        print(f"putting {len(files)} documents", file=notes.file, flush=True)
    with _gateway() as gateway, Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task("documents", total=len(files))
        for file in files:
            body = {"title": file.title, "text": file.text}
            state = gateway.call("PUT", "v1", "documents", collection, file.id, body=body)
            states.append(state)
            bar.update(task, advance=1, description=file.id)
    if as_json:
        typer.echo(json.dumps({"collection": collection, "documents": states}, indent=2))
        return
    typer.echo(_summary(collection, states))


def get(collection: Collection, document_id: DocumentId, as_json: Json = False) -> None:
    """Print a document as the file that would put it."""
    with _gateway() as gateway:
        document = gateway.call("GET", "v1", "documents", collection, document_id)
    typer.echo(json.dumps(document, indent=2) if as_json else f"# {document['title']}\n\n{document['text']}")


def list_all(collection: Collection, as_json: Json = False) -> None:
    """List a collection with versions and chunks."""
    from rich.console import Console
    from rich.table import Table

    with _gateway() as gateway:
        found = list(_states(gateway, collection))
    if as_json:
        typer.echo(json.dumps({"collection": collection, "documents": found}, indent=2))
        return
    if not found:
        typer.echo(f"{collection} has no documents. 'promptyard documents put {collection} FOLDER' brings some.")
        return
    table = Table("id", box=None, pad_edge=False, header_style="dim")
    for title in ("version", "chunks", "changed"):
        table.add_column(title, justify="right")
    for state in found:
        at = f"{datetime.fromtimestamp(state['updated_at']):%Y-%m-%d %H:%M:%S}"
        table.add_row(state["id"], str(state["version"]), str(state["chunks"]), at)
    Console().print(table)
    typer.echo(f"{len(found)} documents")


def delete(collection: Collection, document_id: DocumentId, as_json: Json = False) -> None:
    """Delete a document; no answer made from it is served any more."""
    with _gateway() as gateway:
        state = gateway.call("DELETE", "v1", "documents", collection, document_id)
    if as_json:
        typer.echo(json.dumps(state))
        return
    typer.echo(f"Deleted {collection}/{document_id} (version {state['version']}); no answer made from it is served.")


def _gateway() -> "GatewayClient":
    from deployments.cli.gateway_client import open_gateway

    home = stack_home()
    return open_gateway(home, connected_settings())


def _states(gateway: "GatewayClient", collection: str) -> Iterator[dict[str, Any]]:
    """Every document of the collection, page by page."""
    after = ""
    while True:
        page = gateway.call("GET", "v1", "documents", collection, query={"after": after, "limit": str(PAGE)})
        yield from page["documents"]
        if not page.get("has_more"):
            return
        after = page["next"]


def _did(state: dict[str, Any]) -> str:
    return f"{'' if state['changed'] else 'unchanged, '}version {state['version']}"


def _summary(collection: str, states: Sequence[dict[str, Any]]) -> str:
    if len(states) == 1:
        return f"{collection}/{states[0]['id']}: {_did(states[0])}."
    changed = sum(1 for state in states if state["changed"])
    return f"{collection}: {len(states)} documents, {changed} changed, {len(states) - changed} unchanged."
