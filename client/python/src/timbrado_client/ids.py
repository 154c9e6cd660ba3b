"""The ids of ContaDigital that an application gives by hand, where the provider's own lists cannot be read.

All parts are optional, and any part wins over what the lists say. An id that is neither given nor found is named by
the worker, one by one (`ids_missing`).
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from timbrado_client.explain import explain
from timbrado_client.faults import Fault


def _read_id(value: object) -> int | str:
    if (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and value.strip()):
        return value
    raise PydanticCustomError("id_expected", "an id is a number, or a text that is not empty")


Id = Annotated[
    int | str, BeforeValidator(_read_id), WithJsonSchema({"type": ["integer", "string"], "minLength": 1})
]


class Ids(BaseModel):
    """Ids by hand; keys of the objects are the SAT's, `"*"` in `producto` is the one for all others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rfc: Id | None = Field(None, title="RFC de la cuenta", examples=[7])
    serie: Id | None = Field(None, title="serie", examples=[11])
    serie_nota_de_credito: Id | None = Field(None, title="serie de notas de crédito", examples=[12])
    sucursal: Id | None = Field(None, title="sucursal", examples=[3])
    lugar_expedicion: dict[str, Id] = Field({}, title="lugares de expedición", examples=[{"64000": 5}])
    moneda: dict[str, Id] = Field({}, title="monedas", examples=[{"MXN": 1, "USD": 2}])
    forma_pago: dict[str, Id] = Field({}, title="formas de pago", examples=[{"03": 103}])
    unidad: dict[str, Id] = Field({}, title="unidades", examples=[{"E48": 201}])
    producto: dict[str, Id] = Field({}, title="productos", examples=[{"*": 500, "78101802": 501}])
    retencion: dict[str, Id] = Field({}, title="tipos de retención de IVA", examples=[{"0.04": 2}])


def faults_of(ids: Mapping[str, object]) -> list[Fault]:
    """Return everything that is wrong with the shape of ids given by hand; paths begin with `ids`."""
    try:
        Ids.model_validate(ids)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        return [explain(Ids, detail, within="ids") for detail in details]
    return []
