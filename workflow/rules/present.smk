"""Tables and figures from the result files."""

METRICS = result_files("metrics_{boxes}.json", boxes=BOXES)


rule table1:
    input:
        metrics=METRICS,
        complexity="<results>/complexity.csv",
    output:
        csv="<results>/tables/table1.csv",
        md="<results>/tables/table1.md",
        html=report(
            "<results>/tables/table1.html",
            caption="../report/table1.rst",
            category="Tables",
            labels={"table": "1", "shows": "the eight orders"},
        ),
    log:
        "<results>/logs/table1.log",
    benchmark:
        "<results>/benchmarks/table1.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("table1"),
    shell:
        "python -m analysis.table1 --metrics {input.metrics} --complexity {input.complexity}"
        " --output-dir $(dirname {output.csv}) > {log} 2>&1"


rule figure1:
    input:
        metrics=METRICS,
        complexity="<results>/complexity.csv",
    output:
        png="<results>/figures/figure1.png",
        svg=report(
            "<results>/figures/figure1.svg",
            caption="../report/figure1.rst",
            category="Figures",
            labels={"figure": "1", "shows": "AP against parameters"},
        ),
    log:
        "<results>/logs/figure1.log",
    benchmark:
        "<results>/benchmarks/figure1.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("figure1"),
    shell:
        "python -m analysis.figure1 --metrics {input.metrics} --complexity {input.complexity}"
        " --output-dir $(dirname {output.svg}) > {log} 2>&1"


rule figure8:
    input:
        result_files("training.jsonl"),
    output:
        png="<results>/figures/figure8.png",
        svg=report(
            "<results>/figures/figure8.svg",
            caption="../report/figure8.rst",
            category="Figures",
            labels={"figure": "8", "shows": "convergence and learning rate"},
        ),
    log:
        "<results>/logs/figure8.log",
    benchmark:
        "<results>/benchmarks/figure8.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("figure8"),
    shell:
        "python -m analysis.figure8 --logs {input} --output-dir $(dirname {output.svg}) > {log} 2>&1"


rule overlays:
    input:
        data_files("val"),
        predictions=f"<results>/{{model}}/seed{config['seeds'][0]}/predictions_gt.npz",
    output:
        report(
            "<results>/figures/overlays_{model}.png",
            caption="../report/overlays.rst",
            category="Predictions",
            labels={"model": "{model}"},
        ),
    log:
        "<results>/logs/overlays/{model}.log",
    benchmark:
        "<results>/benchmarks/overlays/{model}.tsv"
    conda:
        "../../environment.yml"
    resources:
        data_root=str(DATA_ROOT),
    params:
        dataset=DATASET,
        code=code("overlays"),
    shell:
        "python -m analysis.overlays --dataset {params.dataset} --predictions {input.predictions}"
        " --data-root {resources.data_root:q} --output {output} > {log} 2>&1"
