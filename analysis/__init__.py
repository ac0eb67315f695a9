"""Read the Arrow tables of sweeps; make figures, tables, sentences and the report."""
