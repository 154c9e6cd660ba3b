"""Access to the SAT's data: catalogues, schemas and stylesheets, zones of postcodes, certificates."""
