"""The page Submit: a form made from the JSON Schema of a task type, with what does not fit beside its field."""

import json
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.errors import FilesUnavailable, FileTooLarge, InvalidPayload, UnknownJobType, UnknownQueue
from taskqueue.jobtypes.masking import MASK
from taskqueue.jobtypes.registry import JobType
from taskqueue.jobtypes.signature import Json
from taskqueue.web.console import Services
from taskqueue.web.console.guard import check_may, check_sees
from taskqueue.web.console.notices import Notice, done
from taskqueue.web.http.access import caller_sees, caller_types
from taskqueue.web.openapi.example import payload_example

FILE_NAMES = ("file", "filename", "attachment", "attachments", "files", "filenames")
INPUTS = {"email": "email", "date": "date", "uri": "url", "password": "password", "time": "time"}
NO_VALUE = object()


@dataclass(frozen=True)
class Field:
    """A field of a form: a parameter of the job."""

    name: str
    label: str
    kind: str  # "text", "number", "checkbox", "select", "json", "email", "date", "password", …
    required: bool
    value: str
    hint: str
    choices: tuple[str, ...] = ()
    takes_file: bool = False
    step: str = ""
    error: str = ""


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the pages."""

    @blueprint.get("/submit")
    def submit_list() -> ResponseReturnValue:
        check_may("submit")
        types = [services.job_types[name] for name in sorted(filter(caller_sees, services.job_types))]
        return render_template("console/submit_list.html", types=types)

    @blueprint.route("/submit/<name>", methods=["GET", "POST"])
    def submit_form(name: str) -> ResponseReturnValue:
        check_may("submit")
        if name not in services.job_types:
            raise UnknownJobType(name, sorted(services.job_types))
        check_sees(name)
        job_type = services.job_types[name]
        errors: dict[str, str] = {}
        values: dict[str, Any] = {}
        if request.method == "POST":
            payload, errors = _payload(services, job_type)
            if not errors:
                errors = _submit_errors(services, job_type, payload)
                if not errors:
                    return _done(services, job_type, payload)
            values = dict(request.form)
        elif source := request.args.get("from"):
            values = _values_of(services, job_type, source)
        return render_template(
            "console/submit_form.html",
            job_type=job_type,
            fields=fields_of(job_type, values, errors),
            queues=services.settings.queues,
            values=values,
            errors=errors,
            known=[field.name for field in fields_of(job_type, {}, {})],
        ), 422 if errors else 200


def fields_of(job_type: JobType, values: dict[str, Any], errors: dict[str, str]) -> list[Field]:
    """Return the fields of a form: one for each parameter."""
    schema = job_type.signature.schema
    required = schema.get("required", ())
    example = payload_example(job_type)
    examples = example if isinstance(example, dict) else {}
    return [
        _field(name, _resolved(part, schema), name in required, values, errors, examples.get(name))
        for name, part in schema.get("properties", {}).items()
    ]


def _field(
    name: str, part: dict[str, Any], required: bool, values: dict[str, Any], errors: dict[str, str], example: Json
) -> Field:
    options = [each for each in part.get("anyOf", [part]) if each.get("type") != "null"]
    only = options[0] if len(options) == 1 else {}
    kind, step = "json", ""
    choices: tuple[str, ...] = ()
    match only.get("type"):
        case _ if "enum" in only:
            kind, choices = "select", tuple(map(str, only["enum"]))
        case "string":
            kind = INPUTS.get(only.get("format", ""), "text")
            if only.get("writeOnly") or part.get("writeOnly"):
                kind = "password"
            if only.get("maxLength", 2000) > 500 and kind == "text" and name not in FILE_NAMES:
                kind = "long" if name in ("body", "html", "text", "message", "content", "description") else "text"
        case "integer":
            kind, step = "number", "1"
        case "number":
            kind, step = "number", "any"
        case "boolean":
            kind, choices = "select", ("true", "false")
        case None if any(each.get("type") == "string" for each in options):
            kind = "words"  # a string, or something else as JSON
    default = part.get("default", NO_VALUE)
    limits = [
        f"{word} {only[key]}"
        for key, word in (("minimum", "at least"), ("maximum", "at most"), ("maxLength", "characters at most:"))
        if key in only
    ]
    hints = [part.get("description", ""), ", ".join(limits)]
    if default is not NO_VALUE and default not in (None, "", []):
        hints.append(f"default: {json.dumps(default, ensure_ascii=False)}")
    if kind == "json":
        hints.append(f"JSON, such as {json.dumps(example, ensure_ascii=False)}" if example else "JSON")
    elif kind == "words":
        hints.append("a text, or a list as JSON")
    value = values.get(f"field:{name}", "")
    return Field(
        name=name,
        label=name.replace("_", " "),
        kind=kind,
        required=required,
        value="" if kind == "password" else str(value),
        hint=". ".join(hint.rstrip(".") for hint in hints if hint),
        choices=choices,
        takes_file=name in FILE_NAMES,
        step=step,
        error=errors.get(name, ""),
    )


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a schema with what its reference names."""
    reference = part.get("$ref", "")
    if reference.startswith("#/$defs/"):
        return {**schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {}), **part}
    return part


def _payload(services: Services, job_type: JobType) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the payload of the form that was sent, and what is wrong with its fields."""
    payload: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for field in fields_of(job_type, {}, {}):
        text = request.form.get(f"field:{field.name}", "")
        try:
            uploaded = _uploaded(services, field)
            value = uploaded if uploaded is not NO_VALUE else _value(field, text)
        except ValueError as error:
            errors[field.name] = str(error)
            continue
        except (FileTooLarge, FilesUnavailable) as error:
            errors[field.name] = str(error)
            continue
        if value is not NO_VALUE:
            payload[field.name] = value
    more = request.form.get("more", "").strip()
    if more:
        try:
            others = json.loads(more)
            if not isinstance(others, dict):
                raise ValueError("it must be a JSON object")
            payload |= others
        except ValueError as error:
            errors["more"] = f"This is not a JSON object: {error}"
    return payload, errors


def _value(field: Field, text: str) -> Any:
    """Return the value of a field, or NO_VALUE if it was left empty. Raises ValueError."""
    if text == "" and not (field.required and field.kind in ("text", "long")):
        return NO_VALUE
    match field.kind:
        case "number":
            return json.loads(text) if text.lstrip("-").replace(".", "", 1).isdigit() else text
        case "select" if field.choices == ("true", "false"):
            return text == "true"
        case "words":
            return json.loads(text) if text.lstrip().startswith(("[", "{")) else text
        case "json":
            try:
                return json.loads(text)
            except ValueError as error:
                raise ValueError(f"This is not JSON: {error}") from None
    return text


def _uploaded(services: Services, field: Field) -> Any:
    """Store the files that were chosen for a field, and return their filenames; NO_VALUE: none was."""
    chosen = [file for file in request.files.getlist(f"file:{field.name}") if file.filename]
    if not field.takes_file or not chosen:
        return NO_VALUE
    stored = [
        services.files.write(file.read(), file.filename or "file", task_types=caller_types()).filename
        for file in chosen
    ]
    return stored if field.kind == "json" else stored[0]


def _submit_errors(services: Services, job_type: JobType, payload: dict[str, Any]) -> dict[str, str]:
    """Return what is wrong with a payload and the options, by field."""
    errors: dict[str, str] = {}
    try:
        job_type.arguments(payload)
    except InvalidPayload as error:
        for each in error.errors:
            name, _, inside = each.pointer.removeprefix("/").partition("/")
            known = name in job_type.signature.schema.get("properties", {})
            errors.setdefault(
                name if known else "more",
                f"{'/' + inside + ': ' if inside else ''}{each.message}"
                if known
                else f"{each.pointer}: {each.message}",
            )
    try:
        services.queue.submissions.queue_of(job_type, _options())
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            errors[f"option:{detail['loc'][0] if detail['loc'] else ''}"] = detail["msg"].removeprefix(
                "Value error, "
            )
    except UnknownQueue as error:
        errors["option:queue"] = str(error)
    return errors


def _options() -> SubmitOptions:
    """Return the options in the form. Raises `ValidationError`."""
    names = ("queue", "delay", "attempts", "priority", "expires_in")
    given: dict[str, Any] = {
        name: text for name in names if (text := request.form.get(f"option:{name}", "").strip())
    }
    if tags := request.form.get("option:tags", "").split():
        given["tags"] = tuple(tags)
    return SubmitOptions.model_validate(given)


def _done(services: Services, job_type: JobType, payload: dict[str, Any]) -> ResponseReturnValue:
    task = services.queue.submit(job_type.name, payload, _options())
    return done(Notice(f"The task is {task.status}."), url_for("console.task", task_id=task.id))


def _values_of(services: Services, job_type: JobType, task_id: str) -> dict[str, Any]:
    """Return the values of a form that sends a task again with changes; secrets are to be typed again."""
    task = services.queue.get(task_id)
    check_sees(task.type)
    values: dict[str, Any] = {"option:queue": task.queue, "option:tags": " ".join(task.tags)}
    if task.type != job_type.name or not isinstance(task.payload, dict):
        return values
    kinds = {field.name: field.kind for field in fields_of(job_type, {}, {})}
    others = {name: value for name, value in task.payload.items() if name not in kinds}
    for name, value in task.payload.items():
        if value is None or MASK in json.dumps(value, ensure_ascii=False):
            continue
        if kinds.get(name) == "json" or not isinstance(value, str):
            values[f"field:{name}"] = json.dumps(value, ensure_ascii=False)
        else:
            values[f"field:{name}"] = value
    if others:
        values["more"] = json.dumps(others, indent=2, ensure_ascii=False)
    return values
