"""What is printed about invoices: `docs/validation.md`, `docs/evidence.md`, `docs/invoice.schema.json`.

These files are never edited: they are made from the rules and the models, and a test compares them with what would
be made now.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timbrado_client.reading import json_schema

from cfdi.evidence import OF_THE_DOCUMENT
from cfdi.evidence.content import COMPARISONS
from cfdi.faults import path_of
from cfdi.rules import RULES
from cfdi.rules.rulebook import InvoiceRule
from cfdi.shapes import SHAPES, Shape
from cfdi.texts import MATRIX

DOCS = Path(__file__).resolve().parents[2] / "docs"
_SHOWN = 3
"""Changes shown of one example."""


def schema() -> str:
    """Return the JSON Schema of an invoice as Apunto sends it."""
    return json.dumps(json_schema(), ensure_ascii=False, indent=2) + "\n"


def validation() -> str:
    """Return the page on what is checked before an invoice is sent, in Spanish, since support reads it."""
    asked = {rule.code for rule in RULES}
    only_the_sat = [(code, words) for code, words in MATRIX.items() if code not in asked]
    lines = [
        "# Qué se revisa antes de timbrar",
        "",
        "<!-- Generado por `./dev publish`: no se edita a mano. -->",
        "",
        "Toda factura pasa por estas reglas antes de gastar un timbre. Los errores llegan todos juntos, en el",
        "orden de los campos, cada uno con su código, su campo, qué está mal y qué hacer. Un *aviso* no detiene",
        "la factura. El número es el de la lista de reglas del CFDI 4.0; las reglas sin número son de Apunto o",
        "de ContaDigital. Los ejemplos cambian una factura válida con fecha 2026-11-23; `emisor` son los datos de",
        "la conexión. De más de 1,000 errores se muestran los primeros (`timbrado.hay_mas`).",
        "",
        "## Reglas",
        "",
        "| Código | Núm. | Regla | Campo | Ejemplo de error | Fuente |",
        "|---|---|---|---|---|---|",
        *(_row_of_rule(rule) for rule in RULES),
        "",
        "## Forma",
        "",
        "Lo que se revisa antes que nada: que la factura sea la del contrato, campo por campo",
        "([invoice.schema.json](invoice.schema.json)).",
        "",
        "| Código | Regla | Campo | Ejemplo de error |",
        "|---|---|---|---|",
        *(_row_of_shape(shape) for shape in SHAPES),
        "",
        "## Solo el SAT puede saberlo",
        "",
        "Códigos que pueden volver del timbrado y que ninguna regla de aquí adelanta: datos que solo están en las",
        "listas del SAT, o partes del CFDI que Apunto no envía.",
        "",
        "| Código | Campo | Qué está mal | Qué hacer |",
        "|---|---|---|---|",
        *(_row(code, _code(words.field), words.message, words.fix) for code, words in only_the_sat),
        "",
    ]
    return "\n".join(lines)


def evidence() -> str:
    """Return the page on which differences of a stamped CFDI are what, in Spanish, since support reads it."""
    lines = [
        "# Qué se revisa en el CFDI timbrado",
        "",
        "<!-- Generado por `./dev publish`: no se edita a mano. -->",
        "",
        "A lo que devuelve ContaDigital se le hacen dos preguntas por separado.",
        "",
        "## ¿Es un buen CFDI?",
        "",
        "Si algo de esto falla, el documento no prueba que la factura se haya timbrado.",
        "",
        "| Revisión | Qué promete |",
        "|---|---|",
        *(_row(_code(name), promise) for name, promise in OF_THE_DOCUMENT.items()),
        "",
        "Lo que rodea al XML no es parte de él y solo se anota (`envoltura`): espacios antes de la declaración o",
        "dentro de un sello, un carácter nulo al final, una hoja de estilo (`xml-stylesheet`), comentarios, una",
        "addenda, un espacio de nombres que no es una dirección. Una clave que nuestros catálogos no conocen",
        "todavía también solo se anota (`claves_nuevas`): el SAT ya la aceptó.",
        "",
        "### Qué no se revisa",
        "",
        "Todo se revisa con el documento y con lo que hay aquí; no se le pregunta nada al SAT. Por eso no se sabe:",
        "",
        "- si el SAT lo tiene vigente o alguien lo canceló por otro lado: lo dice `timbrado audit --sat`;",
        "- si el certificado del emisor fue revocado: el SAT lo revisó al timbrar, y su lista (LCO) no se descarga;",
        "- quién firmó el certificado del emisor, mientras `TIMBRADO_SAT_AUTHORITIES` no tenga las autoridades;",
        "- el sello del PAC, mientras `TIMBRADO_PAC_CERTIFICATES` no tenga su certificado;",
        "- el contenido de la addenda y de los complementos sin esquema aquí, y si el PDF dice lo mismo que el XML.",
        "",
        "`timbrado status` nombra en cada documento las revisiones que no se hicieron.",
        "",
        "## ¿Es lo que se envió?",
        "",
        "Cada diferencia es *de presentación* (se anota y la factura queda timbrada) o *de fondo* (la factura está",
        "timbrada, y alguien tiene que aceptar la diferencia o cancelarla).",
        "",
        "| Comparación | Qué se compara | De presentación | De fondo | Por qué |",
        "|---|---|---|---|---|",
        *(
            _row(_code(name), each.what, each.presentational or "—", each.substantial or "—", each.why)
            for name, each in COMPARISONS.items()
        ),
        "",
    ]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else "—"


def _row_of_rule(rule: InvoiceRule[Any]) -> str:
    code = f"{rule.code} (aviso)" if rule.only_warns else rule.code
    number = "—" if rule.number is None else str(rule.number)
    return _row(code, number, rule.says, _code(rule.field), _example(rule), rule.source)


def _row_of_shape(shape: Shape) -> str:
    shown = []
    for path, value in shape.fails.items():
        if value is ...:
            shown.append(f"sin {_code(path)}")
        elif isinstance(value, list | set) or len(str(value)) > 100:
            shown.append("—")
        else:
            shown.append(f"`{path} = {json.dumps(value, ensure_ascii=True)}`")
    return _row(shape.code, shape.says, _code(shape.field), ", ".join(shown))


def _example(rule: InvoiceRule[Any]) -> str:
    """Return a short example whole; of a long one the rule's own field, and what its neighbour has otherwise."""
    own = rule.field.replace("[]", "[0]")
    leaves = [leaf for leaf in _leaves(rule.fails) if leaf[1] is not None or leaf[0] == own]
    if len(leaves) > _SHOWN:
        passes = dict(_leaves(rule.passes))
        shown = {own, "receptor.rfc"}  # whom a rule about the receptor is about has to be shown, too
        leaves = [(path, value) for path, value in leaves if path in shown or passes.get(path, ...) != value]
    leaves.sort(key=lambda leaf: not leaf[0].startswith(own))
    return ", ".join(f"`{path} = {_value(value)}`" for path, value in leaves[:_SHOWN])


def _leaves(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every plain value of an example with its path; keys may be paths themselves."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*at, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*at, index))
    else:
        yield path_of(at), value


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 70 else f'{text[:66]}..."'


def pages() -> dict[Path, str]:
    """Return every published file with its contents as they should be now."""
    return {
        DOCS / "validation.md": validation(),
        DOCS / "evidence.md": evidence(),
        DOCS / "invoice.schema.json": schema(),
    }
