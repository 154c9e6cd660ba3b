"""A fault says where it stands, who can correct it, and keeps a developer's matter away from users."""

import pytest
from timbrado_client import Fault
from timbrado_client.invoice import Invoice
from timbrado_client.labels import FIELD_LABELS, label_of, node_in


@pytest.mark.parametrize(
    ("field", "label"),
    [
        ("conceptos[2].nombre", "Nombre del producto, línea 3"),
        ("conceptos[0].traslados[0].tasa_o_cuota", "Tasa (impuesto trasladado), línea 1"),
        ("conceptos[0].retenciones[1].base", "Base (impuesto retenido), línea 1"),
        ("receptor.rfc", "RFC del cliente"),
        ("receptor", "Datos del cliente"),
        ("conceptos[1].traslados[1]", "Impuestos trasladados, número 2, línea 2"),
        ("conceptos[4]", "Conceptos, línea 5"),
        ("conceptos", "Conceptos"),
        ("impuestos.traslados[0].importe", "Importe (impuesto trasladado)"),
        ("cfdi_relacionados.uuids[1]", "Folios fiscales relacionados, número 2"),
        ("send_to[0]", "Correos a los que se envía, número 1"),
        ("receptor.usoCfdi", "Datos del cliente"),
        ("conceptos[0].precio", "Conceptos, línea 1"),
        ("api_key", "API Key de ContaDigital"),
        ("UsoCFDI", ""),
        ("", ""),
    ],
)
def test_a_field_has_a_label_that_a_person_reads(field: str, label: str) -> None:
    """The label is made from the path: title of the field, line counted from 1, unknown names left out."""
    assert label_of(field) == label
    assert Fault("timbrado.prueba", field).label == label


def test_every_field_of_the_invoice_has_a_label() -> None:
    """The walk over the models forgets no field, and no label is a field's own name."""

    def walk(model: type, at: str) -> None:
        for name, field in model.model_fields.items():
            path = f"{at}.{name}" if at else name
            assert FIELD_LABELS[path] != name
            inner, many = node_in(field.annotation)
            if inner is not None:
                walk(inner, f"{path}[]" if many else path)

    walk(Invoice, "")


@pytest.mark.parametrize(
    ("code", "source", "whose"),
    [
        ("timbrado.numero_sin_comillas", "timbrado", "apunto"),
        ("timbrado.nombre_largo", "timbrado", "user"),
        ("CFDI40147", "sat", "user"),
        ("CFDI40147", "contadigital", "user"),
        ("contadigital.rechazo", "contadigital", "contadigital"),
        ("timbrado.error_interno", "timbrado", "support"),
    ],
)
def test_a_fault_says_who_can_correct_it(code: str, source: str, whose: str) -> None:
    """From its code and source, so that every fault says it."""
    assert Fault(code, "total", "m", "f", source).whose == whose


def test_whose_and_label_can_be_given() -> None:
    """What is given wins over what would be made of the field and the code."""
    fault = Fault("CFDI40119", "total", "m", "f", label="Total de la factura", whose="apunto")

    assert (fault.label, fault.whose) == ("Total de la factura", "apunto")


def test_an_entry_has_the_form_of_the_contract() -> None:
    """Seven keys in the contract's order, and `detail` only where there is one."""
    fault = Fault("timbrado.nombre_largo", "conceptos[2].nombre", "Es largo.", "Acórtalo.")

    assert list(fault.as_dict()) == ["code", "field", "label", "message", "fix", "source", "whose"]
    assert fault.as_dict() == {
        "code": "timbrado.nombre_largo",
        "field": "conceptos[2].nombre",
        "label": "Nombre del producto, línea 3",
        "message": "Es largo.",
        "fix": "Acórtalo.",
        "source": "timbrado",
        "whose": "user",
    }
    assert Fault("a", detail="for developers").as_dict()["detail"] == "for developers"
