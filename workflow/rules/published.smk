"""Published checkpoints: fetched, evaluated, and tabled beside their published scores.

They stand on ``coco_root`` and ``mpii_root`` alone, so the targets run on top of any config.
"""


wildcard_constraints:
    checkpoint="[a-z0-9-]+@(coco|mpii)[a-z0-9-]*",
    table="published|released",


rule published:
    input:
        "<results>/tables/published.html",
    localrule: True


# The part of the paper's authors.
rule released:
    input:
        "<results>/tables/released.html",
    localrule: True


# One job for all files, which tells of each whether it could be had. Local, as the nodes of a
# cluster often reach no network.
checkpoint obtain_published:
    input:
        failed_before,
    output:
        "<results>/published/obtained_{table}.csv",
    log:
        "<results>/logs/published/obtain_{table}.log",
    benchmark:
        "<results>/benchmarks/published/obtain_{table}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        names=published.fetched,
    shell:
        "python -m pose.weights obtain {params.names:q} --output {output:q} 2>&1 | tee {log:q}"


# The cache is verified again here, so when it was filled does not matter.
rule convert_published:
    output:
        "<results>/published/{checkpoint}/weights.safetensors",
    log:
        "<results>/logs/published/{checkpoint}-convert.log",
    benchmark:
        "<results>/benchmarks/published/{checkpoint}-convert.tsv"
    conda:
        "../../environment.yml"
    params:
        checksum=published.checksum,
        experiment=lambda wildcards: published.experiment(wildcards).model_dump_json(),
        code=lambda wildcards: plan.code("pose.weights", published.model(wildcards)),
    shell:
        "python -m pose.weights convert --name {wildcards.checkpoint:q} --output {output:q} > {log:q} 2>&1"


use rule infer as infer_published with:
    input:
        published.annotations,
        weights="<results>/published/{checkpoint}/weights.safetensors",
    output:
        predictions=f"<results>/published/{{checkpoint,{published.pattern('gt')}}}/predictions_gt.npz",
    log:
        "<results>/logs/published/{checkpoint}-infer.log",
    benchmark:
        "<results>/benchmarks/published/{checkpoint}-infer.tsv"
    resources:
        gpu=plan.gpus,
        device=plan.device,
        data_root=published.root,
    params:
        experiment=lambda wildcards: published.experiment(wildcards).model_dump_json(),
        detections=[],
        code=lambda wildcards: plan.code("pose.infer", published.model(wildcards)),


# As infer_both.
use rule infer_published as infer_published_both with:
    input:
        published.annotations,
        published.detections,
        weights="<results>/published/{checkpoint}/weights.safetensors",
    output:
        predictions=f"<results>/published/{{checkpoint,{published.pattern('gt', 'det')}}}/predictions_det.npz",
        gt=f"<results>/published/{{checkpoint,{published.pattern('gt', 'det')}}}/predictions_gt.npz",
    params:
        experiment=lambda wildcards: published.experiment(wildcards).model_dump_json(),
        detections=lambda wildcards, output: published.both_boxes(wildcards, output.gt),
        code=lambda wildcards: plan.code("pose.infer", published.model(wildcards)),


use rule evaluate as evaluate_published with:
    input:
        published.truth,
        predictions="<results>/published/{checkpoint}/predictions_{boxes}.npz",
    output:
        metrics="<results>/published/{checkpoint}/metrics_{boxes}.json",
        persons="<results>/published/{checkpoint}/persons_{boxes}.parquet",
    log:
        "<results>/logs/published/{checkpoint}-evaluate-{boxes}.log",
    benchmark:
        "<results>/benchmarks/published/{checkpoint}-evaluate-{boxes}.tsv"
    params:
        arguments=published.scoring,
        code=plan.code("pose.evaluate"),


rule published_table:
    input:
        metrics=evaluated,
        obtained="<results>/published/obtained_{table}.csv",
    output:
        csv=report(
            "<results>/tables/{table}.csv",
            caption="../report/published.rst",
            category="Tables",
            labels={"table": "{table}", "shows": "checkpoints", "as": "numbers (CSV)"},
        ),
        md="<results>/tables/{table}.md",
        tex="<results>/tables/{table}.tex",
        html=report(
            "<results>/tables/{table}.html",
            caption="../report/published.rst",
            category="Tables",
            labels={"table": "{table}", "shows": "checkpoints", "as": "page"},
        ),
    log:
        "<results>/logs/published/table_{table}.log",
    benchmark:
        "<results>/benchmarks/published/table_{table}.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.csv, parent=True),
        names=published.names,
        code=plan.code("analysis.published"),
    shell:
        "python -m analysis.published {params.names:q} --metrics {input.metrics:q}"
        " --obtained {input.obtained:q} --table {wildcards.table:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"
