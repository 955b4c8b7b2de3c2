"""The data: rendered here, in place already, or obtained by a target of their own.

Their folders, which a user names, are no outputs: Snakemake would empty them.
"""


include: "obtain.smk"


if plan.rendered:

    rule synthetic_data:
        input:
            what_is_stale,
        output:
            "<results>/rendered.txt",
        log:
            "<results>/logs/synthetic_data.log",
        benchmark:
            "<results>/benchmarks/synthetic_data.tsv"
        conda:
            "../../environment.yml"
        params:
            folder=lambda wildcards: plan.rendered.data_root,
            settings=plan.rendered.synthetic.model_dump_json(),
            code=plan.code("pose.data.synthetic"),
        shell:
            "python -m pose.data.synthetic --output {params.folder:q}"
            " --settings {params.settings:q} 2>&1 > {output:q} | tee {log:q}"
