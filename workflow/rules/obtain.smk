"""COCO and MPII from their hosts, for who asks by name: `snakemake --cores 4 coco_data`.

The data themselves are no outputs, as Snakemake would delete them when a job fails, and nothing
that it may delete lies in a folder that a user names. A call after a failure goes on where the last one stopped. Local, as the nodes of a cluster often reach no network.
"""


rule coco_data:
    output:
        "<results>/obtained/coco.txt",
    log:
        "<results>/logs/data/coco_data.log",
    benchmark:
        "<results>/benchmarks/data/coco_data.tsv"
    retries: 3
    localrule: True
    conda:
        "../../environment.yml"
    params:
        root=lambda wildcards: plan.obtained_root("coco"),
    shell:
        "python -m pose.data.obtain coco --root {params.root:q} 2>&1 > {output:q} | tee {log:q}"


rule mpii_data:
    output:
        "<results>/obtained/mpii.txt",
    log:
        "<results>/logs/data/mpii_data.log",
    benchmark:
        "<results>/benchmarks/data/mpii_data.tsv"
    retries: 3
    localrule: True
    conda:
        "../../environment.yml"
    params:
        root=lambda wildcards: plan.obtained_root("mpii"),
    shell:
        "python -m pose.data.obtain mpii --root {params.root:q} 2>&1 > {output:q} | tee {log:q}"


# HRNet's person detections: their host serves browsers only. Says what to put where, and checks it.
rule coco_detections:
    output:
        "<results>/obtained/coco_detections.txt",
    log:
        "<results>/logs/data/coco_detections.log",
    benchmark:
        "<results>/benchmarks/data/coco_detections.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        root=lambda wildcards: plan.obtained_root("coco"),
    shell:
        "python -m pose.data.obtain coco --root {params.root:q} --parts detections"
        " 2>&1 > {output:q} | tee {log:q}"


rule verify_data:
    input:
        "<results>/obtained/{dataset}.txt",
    output:
        "<results>/data/{dataset}.txt",
    log:
        "<results>/logs/data/verify-{dataset}.log",
    benchmark:
        "<results>/benchmarks/data/verify-{dataset}.tsv"
    wildcard_constraints:
        dataset="coco|mpii",
    conda:
        "../../environment.yml"
    threads: 8
    params:
        root=lambda wildcards: plan.obtained_root(wildcards.dataset),
    shell:
        "python -m pose.data.verify {wildcards.dataset:q} --root {params.root:q}"
        " --workers {threads} 2>&1 | tee {log:q} > {output:q}"
