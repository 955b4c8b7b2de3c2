"""The data: rendered here, in place already, or obtained by a target of their own."""


include: "obtain.smk"


if SYNTHETIC:

    rule synthetic_data:
        output:
            directory(SYNTHETIC["data_root"]),
        log:
            "<results>/logs/synthetic_data.log",
        benchmark:
            "<results>/benchmarks/synthetic_data.tsv"
        conda:
            "../../environment.yml"
        params:
            settings=json.dumps(SYNTHETIC.get("synthetic", {})),
            code=code("synthetic_data"),
        shell:
            "python -m pose.data.synthetic --output {output} --settings {params.settings:q}"
            " 2>&1 | tee {log}"
