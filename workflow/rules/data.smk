"""The data: rendered here, or in place already."""

if DATASET == "synthetic":

    rule synthetic_data:
        output:
            directory(config["data_root"]),
        log:
            "<results>/logs/synthetic_data.log",
        benchmark:
            "<results>/benchmarks/synthetic_data.tsv"
        conda:
            "../../environment.yml"
        params:
            settings=json.dumps(config.get("synthetic", {})),
            code=code("synthetic_data"),
        shell:
            "python -m pose.data.synthetic --output {output} --settings {params.settings:q}"
            " 2>&1 | tee {log}"
