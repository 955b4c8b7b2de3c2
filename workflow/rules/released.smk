"""The authors' checkpoints: fetched, evaluated, and tabled beside the paper's numbers.

They stand on ``coco_root`` and ``mpii_root`` alone, so the target runs on top of any config.
"""


wildcard_constraints:
    checkpoint="[a-z0-9-]+@(coco|mpii)",


rule released:
    input:
        "<results>/tables/released.html",
    localrule: True


# One job for all, and one that stops at the first failure: without a network, one line says so.
# Local, as the nodes of a cluster often reach no network.
rule fetch_released:
    output:
        "<results>/released/fetched.txt",
    log:
        "<results>/logs/released/fetch.log",
    benchmark:
        "<results>/benchmarks/released/fetch.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        names=released.names,
    shell:
        "python -m pose.weights fetch {params.names:q} 2>&1 > {output:q} | tee {log:q}"


# The cache is verified again here, so when it was filled does not matter.
rule convert_released:
    input:
        ancient("<results>/released/fetched.txt"),
    output:
        "<results>/released/{checkpoint}/weights.safetensors",
    log:
        "<results>/logs/released/{checkpoint}-convert.log",
    benchmark:
        "<results>/benchmarks/released/{checkpoint}-convert.tsv"
    conda:
        "../../environment.yml"
    params:
        checksum=released.checksum,
        experiment=lambda wildcards: released.experiment(wildcards).model_dump_json(),
        code=lambda wildcards: plan.code("pose.weights", released.model(wildcards)),
    shell:
        "python -m pose.weights convert --name {wildcards.checkpoint:q} --output {output:q} > {log:q} 2>&1"


use rule infer as infer_released with:
    input:
        released.annotations,
        detections=released.detections,
        weights="<results>/released/{checkpoint}/weights.safetensors",
    output:
        "<results>/released/{checkpoint}/predictions_{boxes}.npz",
    log:
        "<results>/logs/released/{checkpoint}-infer-{boxes}.log",
    benchmark:
        "<results>/benchmarks/released/{checkpoint}-infer-{boxes}.tsv"
    resources:
        gpu=plan.gpus,
        device=plan.device,
        data_root=released.root,
    params:
        experiment=lambda wildcards: released.experiment(wildcards).model_dump_json(),
        detections=released.detections_arguments,
        code=lambda wildcards: plan.code("pose.infer", released.model(wildcards)),


use rule evaluate as evaluate_released with:
    input:
        released.truth,
        predictions="<results>/released/{checkpoint}/predictions_{boxes}.npz",
    output:
        metrics="<results>/released/{checkpoint}/metrics_{boxes}.json",
        persons="<results>/released/{checkpoint}/persons_{boxes}.parquet",
    log:
        "<results>/logs/released/{checkpoint}-evaluate-{boxes}.log",
    benchmark:
        "<results>/benchmarks/released/{checkpoint}-evaluate-{boxes}.tsv"
    params:
        arguments=released.scoring,
        code=plan.code("pose.evaluate"),


rule released_table:
    input:
        released.metrics,
    output:
        csv="<results>/tables/released.csv",
        md="<results>/tables/released.md",
        html=report(
            "<results>/tables/released.html",
            caption="../report/released.rst",
            category="Tables",
            labels={"table": "released", "shows": "the authors' checkpoints"},
        ),
    log:
        "<results>/logs/released/table.log",
    benchmark:
        "<results>/benchmarks/released/table.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.csv, parent=True),
        code=plan.code("analysis.released"),
    shell:
        "python -m analysis.released --metrics {input:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"
