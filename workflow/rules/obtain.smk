"""COCO and MPII from their hosts, for who asks by name: `snakemake --cores 4 coco_data`.

The data themselves are no outputs, as Snakemake would delete them when a job fails; a call after
that goes on where the last one stopped. Local, as the nodes of a cluster often reach no network.
"""


include: "common_data.smk"


rule coco_data:
    output:
        obtained_root("coco") / "obtained.txt",
    log:
        "<results>/logs/data/coco_data.log",
    benchmark:
        "<results>/benchmarks/data/coco_data.tsv"
    retries: 3
    localrule: True
    conda:
        "../../environment.yml"
    params:
        root=lambda wildcards, output: str(Path(output[0]).parent),
    shell:
        "python -m pose.data.obtain coco --root {params.root:q} 2>&1 > {output} | tee {log}"


rule mpii_data:
    output:
        obtained_root("mpii") / "obtained.txt",
    log:
        "<results>/logs/data/mpii_data.log",
    benchmark:
        "<results>/benchmarks/data/mpii_data.tsv"
    retries: 3
    localrule: True
    conda:
        "../../environment.yml"
    params:
        root=lambda wildcards, output: str(Path(output[0]).parent),
    shell:
        "python -m pose.data.obtain mpii --root {params.root:q} 2>&1 > {output} | tee {log}"


# HRNet's person detections: their host serves browsers only. Says what to put where, and checks it.
rule coco_detections:
    output:
        obtained_root("coco") / "person_detection_results/obtained.txt",
    log:
        "<results>/logs/data/coco_detections.log",
    benchmark:
        "<results>/benchmarks/data/coco_detections.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        root=lambda wildcards, output: str(Path(output[0]).parent.parent),
    shell:
        "python -m pose.data.obtain coco --root {params.root:q} --parts detections"
        " 2>&1 > {output} | tee {log}"


rule verify_data:
    input:
        lambda wildcards: obtained_root(wildcards.dataset) / "obtained.txt",
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
        root=lambda wildcards: str(obtained_root(wildcards.dataset)),
    shell:
        "python -m pose.data.verify {wildcards.dataset} --root {params.root:q}"
        " --workers {threads} 2>&1 | tee {log} > {output}"
