"""Every rule that an invoice is checked against before the call, in the order of the SAT's nodes.

This is the index: each line is one rule, the number beside it that of the list of CFDI 4.0 rules in
`docs/validation.md`, where its code, field and example are printed. What it asks stands in the module of its node; a
rule that is not listed here is not asked. What is missing from 1 to 56 only the SAT can know (23, 26), asks nothing
of types I and E (50, 56), or is dormant (40120).
"""

from typing import Any

from cfdi.rules import comprobante, conceptos, line_taxes, receptor, relations, tax_summary
from cfdi.rules.rulebook import InvoiceRule, Rulebook

RULES: tuple[InvoiceRule[Any], ...] = (
    # Comprobante, InformacionGlobal, CfdiRelacionados
    comprobante.identifiers_are_visible,  # -: identificador
    comprobante.serie_fits,  # 1: CFDI40999
    comprobante.fecha_is_in_the_years_of_the_schema,  # 2: CFDI40101
    comprobante.fecha_is_not_too_old,  # 3: CFDI40101
    comprobante.fecha_is_not_in_the_future,  # 3: CFDI40101
    comprobante.forma_and_metodo_pago_are_not_swapped,  # -: pago_al_reves
    comprobante.forma_pago_is_in_force,  # 4: CFDI40104
    comprobante.forma_pago_is_known,  # 4: CFDI40104 (warning)
    comprobante.metodo_pago_is_known,  # 5: CFDI40124
    comprobante.ppd_leaves_forma_pago_open,  # 5: CFDI40105
    comprobante.pue_gives_its_forma_pago,  # 6: pue_por_definir
    comprobante.condiciones_de_pago_fit,  # 7: CFDI40999
    comprobante.moneda_is_known,  # 8: CFDI40113
    comprobante.pesos_need_no_tipo_cambio,  # 9: CFDI40114
    comprobante.other_currencies_need_tipo_cambio,  # 9: CFDI40115
    comprobante.no_currency_has_no_tipo_cambio,  # 9: CFDI40116
    comprobante.tipo_cambio_is_positive,  # 9: CFDI40117
    comprobante.tipo_cambio_is_near_the_published,  # 10: CFDI40118 (warning)
    comprobante.tipo_cambio_is_not_inverted,  # -: tipo_cambio_invertido (warning)
    comprobante.confirmacion_is_never_sent,  # 11: CFDI40127
    comprobante.subtotal_has_the_decimals_of_the_currency,  # 12: CFDI40107
    comprobante.subtotal_is_the_sum_of_the_lines,  # 12: CFDI40108
    comprobante.descuento_is_not_above_subtotal,  # 13: CFDI40110
    comprobante.descuento_is_the_sum_of_the_lines,  # 13: CFDI40111
    comprobante.descuento_has_the_decimals_of_the_currency,  # 13: CFDI40112
    comprobante.total_adds_up,  # 14: CFDI40119
    comprobante.tipo_is_ingreso_or_egreso,  # 15: CFDI40121
    comprobante.exportacion_needs_no_complement,  # 16: CFDI40122
    comprobante.exportacion_is_known,  # 16: CFDI40123
    comprobante.exportacion_does_not_apply,  # -: exportacion_no_admitida
    comprobante.lugar_expedicion_is_a_postcode,  # 17: CFDI40126
    comprobante.lugar_expedicion_is_known,  # 17: CFDI40126 (warning)
    relations.global_invoice_has_its_period,  # 18: CFDI40130
    relations.only_a_global_invoice_has_a_period,  # 18: CFDI40130
    relations.periodicidad_is_known,  # 19: CFDI40131
    relations.periodicidad_is_in_our_catalogue,  # 19: CFDI40131 (warning)
    relations.bimester_is_for_regimen_621,  # 19: CFDI40132
    relations.meses_is_known,  # 19: CFDI40133
    relations.a_month_goes_with_a_month,  # 19: CFDI40134
    relations.a_bimester_goes_with_a_bimester,  # 19: CFDI40135
    relations.anio_is_this_or_of_the_five_before,  # 19: CFDI40136
    relations.a_global_period_has_begun,  # -: global_periodo_futuro (warning)
    relations.a_global_invoice_is_paid_at_once,  # -: global_metodo_pago (warning)
    relations.a_global_line_says_venta,  # -: global_descripcion (warning)
    relations.tipo_relacion_is_in_force,  # 20: CFDI40137
    relations.tipo_relacion_is_known,  # 20: CFDI40137 (warning)
    relations.tipo_relacion_suits_the_tipo,  # 20: relacion_no_corresponde (warning)
    relations.credit_note_names_its_invoice,  # 20: nota_sin_relacion (warning)
    relations.related_uuids_are_well_formed,  # 20: CFDI40999
    comprobante.addresses_are_well_formed,  # -: correo
    # Emisor and Receptor
    receptor.emisor_rfc_has_its_pattern,  # 21: CFDI40999
    receptor.emisor_nombre_is_without_regimen_de_capital,  # 24: CFDI40139
    receptor.emisor_regimen_is_in_force,  # 25: CFDI40140
    receptor.emisor_regimen_suits_the_person,  # 25: CFDI40141
    receptor.receptor_rfc_has_its_pattern,  # 21: CFDI40999
    receptor.receptor_rfc_has_a_real_date,  # 22: rfc_fecha (warning)
    receptor.receptor_rfc_has_its_check_digit,  # 22: rfc_digito (warning)
    receptor.receptor_nombre_fits,  # 27: CFDI40999
    receptor.receptor_nombre_has_no_html,  # 27: entidad_html
    receptor.receptor_nombre_is_without_regimen_de_capital,  # 27: CFDI40145
    receptor.receptor_nombre_may_end_in_a_regimen_de_capital,  # 27: regimen_de_capital (warning)
    receptor.publico_en_general_has_its_rfc,  # 28: CFDI40146
    receptor.domicilio_has_five_digits,  # 29: CFDI40147
    receptor.domicilio_is_in_the_catalogue,  # 29: CFDI40147 (warning)
    receptor.generic_rfc_lives_at_the_place_of_issue,  # 30: CFDI40149
    receptor.regimen_is_in_force,  # 31: CFDI40157
    receptor.regimen_is_known,  # 31: CFDI40157 (warning)
    receptor.regimen_suits_the_person,  # 31: CFDI40158
    receptor.generic_rfc_has_no_obligations,  # 32: CFDI40159
    receptor.uso_cfdi_is_in_force,  # 33: CFDI40160
    receptor.uso_cfdi_is_known,  # 33: CFDI40160 (warning)
    receptor.uso_cfdi_suits_person_and_regimen,  # 33: CFDI40161
    receptor.uso_cfdi_is_usual_for_the_tipo,  # 33: uso_poco_comun (warning)
    receptor.generic_rfc_has_no_fiscal_effects,  # 33: CFDI40161
    receptor.residencia_fiscal_is_never_sent,  # 34: CFDI40151
    receptor.num_reg_id_trib_is_never_sent,  # 34: CFDI40155
    # Conceptos
    conceptos.there_is_a_line,  # -: CFDI40999
    conceptos.clave_prod_serv_is_in_force,  # 35: CFDI40162
    conceptos.clave_prod_serv_is_known,  # 35: CFDI40162 (warning)
    conceptos.a_carrier_needs_carta_porte,  # -: carta_porte (warning)
    conceptos.clave_unidad_is_in_force,  # 36: CFDI40165
    conceptos.clave_unidad_is_known,  # 36: CFDI40165 (warning)
    conceptos.cantidad_is_positive,  # 37: CFDI40999
    conceptos.descripcion_fits,  # 38: CFDI40999
    conceptos.no_identificacion_fits,  # 38: CFDI40999
    conceptos.unidad_fits,  # 38: CFDI40999
    conceptos.texts_have_no_html,  # 38: entidad_html
    conceptos.nombre_is_long_enough,  # -: nombre_corto
    conceptos.nombre_is_short_enough,  # -: nombre_largo
    conceptos.nombre_has_no_hidden_symbols,  # -: CFDI40999
    conceptos.valor_unitario_is_positive,  # 39: CFDI40166
    conceptos.importe_is_inside_its_window,  # 40: CFDI40167
    conceptos.importe_can_be_written,  # 40: importe_enorme
    conceptos.descuento_is_no_finer_than_importe,  # 41: CFDI40168
    conceptos.descuento_is_not_above_importe,  # 41: CFDI40169
    conceptos.objeto_imp_is_a_key,  # 42: CFDI40170
    conceptos.objeto_imp_is_known,  # 42: CFDI40170 (warning)
    conceptos.taxed_line_has_taxes,  # 42: CFDI40171
    conceptos.untaxed_line_has_no_taxes,  # 42: CFDI40172
    conceptos.objeto_imp_is_one_we_issue,  # 42: objeto_imp_no_admitido
    conceptos.taxed_line_has_its_iva,  # 42: sin_iva
    conceptos.no_tax_comes_twice,  # 43: impuesto_repetido
    conceptos.freight_by_road_is_withheld_from,  # -: retencion_flete (warning)
    # Traslados and Retenciones of a concepto
    line_taxes.traslado_base_is_positive,  # 43: CFDI40174
    line_taxes.traslado_base_is_importe_less_descuento,  # 43: base (warning)
    line_taxes.traslado_is_taken_from_the_line,  # 43: base
    line_taxes.traslado_is_iva_or_ieps,  # 43: CFDI40175
    line_taxes.traslado_is_not_ieps,  # -: ieps_no_admitido
    line_taxes.traslado_is_tasa_or_exento,  # 43: CFDI40176
    line_taxes.exempt_has_neither_rate_nor_importe,  # 44: CFDI40177
    line_taxes.tasa_has_its_rate,  # 45: CFDI40178
    line_taxes.iva_rate_is_one_of_the_catalogue,  # 46: CFDI40179
    line_taxes.border_rate_is_for_the_border,  # 49: CFDI40179
    line_taxes.traslado_importe_is_inside_its_window,  # 47: CFDI40180
    line_taxes.retencion_base_is_positive,  # 48: CFDI40181
    line_taxes.retencion_base_is_importe_less_descuento,  # 48: base (warning)
    line_taxes.retencion_is_taken_from_the_line,  # 48: base
    line_taxes.retencion_is_isr_iva_or_ieps,  # 48: CFDI40182
    line_taxes.retencion_is_not_ieps,  # -: ieps_no_admitido
    line_taxes.retencion_is_tasa,  # 48: CFDI40183
    line_taxes.retencion_is_not_exempt,  # 48: CFDI40184
    line_taxes.retencion_rate_is_in_its_range,  # 48: CFDI40185
    line_taxes.retencion_withholds_something,  # 48: retencion_cero
    line_taxes.retencion_importe_is_inside_its_window,  # 48: CFDI40186
    line_taxes.a_person_in_resico_is_withheld_from,  # -: CFDI140225 (warning)
    # Impuestos
    tax_summary.a_retencion_has_one_row,  # 51: CFDI40208
    tax_summary.retencion_row_has_the_decimals_of_the_currency,  # 51: CFDI40210
    tax_summary.retencion_row_is_the_sum_of_the_lines,  # 51: CFDI40211
    tax_summary.no_retencion_row_is_missing,  # 51: CFDI40211
    tax_summary.total_retenido_has_the_decimals_of_the_currency,  # 52: CFDI40202
    tax_summary.total_retenido_is_the_sum_of_its_rows,  # 52: CFDI40203
    tax_summary.retenciones_come_with_their_total,  # 52: CFDI40206
    tax_summary.traslado_row_has_its_base,  # 53: CFDI40213
    tax_summary.a_traslado_has_one_row,  # 53: CFDI40218
    tax_summary.traslado_row_is_of_some_line,  # 53: CFDI40219
    tax_summary.traslado_row_base_has_the_decimals_of_the_currency,  # 54: CFDI40214
    tax_summary.traslado_row_base_is_the_sum_of_the_lines,  # 54: CFDI40215
    tax_summary.exempt_row_base_is_the_sum_of_the_lines,  # 54: CFDI40216
    tax_summary.traslado_row_importe_has_the_decimals_of_the_currency,  # 54: CFDI40220
    tax_summary.traslado_row_importe_is_the_sum_of_the_lines,  # 54: CFDI40221
    tax_summary.no_traslado_row_is_missing,  # 54: CFDI40221
    tax_summary.total_trasladado_has_the_decimals_of_the_currency,  # 55: CFDI40204
    tax_summary.total_trasladado_is_the_sum_of_its_rows,  # 55: CFDI40205
    tax_summary.traslados_come_with_their_total,  # 55: CFDI40212
)
"""Every rule, in the order in which a reader meets its field."""

RULEBOOK = Rulebook(RULES)
