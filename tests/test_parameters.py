"""The table of query parameters: what each accepts, and that its other descriptions follow it."""

import pytest

from producer.models import ProduceRequest
from producer.options import Options
from producer.pipeline.parameters import PARAMETERS, Parameter, parse
from tests.conftest import Api


@pytest.mark.no_database
@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_a_default_is_what_leaving_the_parameter_out_means(parameter: Parameter) -> None:
    assert parse(f"{parameter.name}={parameter.default}" if parameter.default else "") == Options()
    assert parameter.option in Options.__struct_fields__


@pytest.mark.no_database
def test_every_option_has_its_parameter() -> None:
    assert {parameter.option for parameter in PARAMETERS} == {*Options.__struct_fields__} - {"topics", "trace"}


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("value.schema=&value.format=avro", "value.schema must be SUBJECT or SUBJECT:VERSION, got ''"),
        ("key.schema=", "key.schema must be SUBJECT or SUBJECT:VERSION, got ''"),
        ("value.schema.id=1", "value.schema.id requires value.format=avro, got json"),
        ("key.schema=people&key.format=string", "key.schema requires key.format=avro, got string"),
        ("value.format=avro&value.schema=a&value.schema.id=1", "use value.schema or value.schema.id, not both"),
    ],
)
def test_an_error_names_the_parameter(api: Api, topic: str, query: str, detail: str) -> None:
    answer = api.post(f"/api/topics/{topic}/produce?{query}", {"records": [{}]})

    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (400, "invalid_parameter", detail)


def test_the_admin_shows_every_parameter_of_a_request(api: Api, topic: str, admin_client: object) -> None:
    query = "async=true&timeout=1234&compression=zstd&strict=true&key.format=string"
    answer = api.post(f"/api/topics/{topic}/produce?{query}", b'{"value":1}', "application/jsonl")
    row = ProduceRequest.objects.get(pk=answer.json()["requestId"])

    page = admin_client.get(f"/admin/producer/producerequest/{row.pk}/change/").content.decode()  # type: ignore[attr-defined]

    for text in ("timeout", "1234", "zstd", "strict", "key.format", "application/x-ndjson"):
        assert text in page


def test_a_topic_is_not_read_from_lines(api: Api) -> None:
    assert api.post("/api/topics", b'{"name":"lines"}', "application/x-ndjson").status_code == 415
