"""Tables and figures from the result files."""


rule table1:
    input:
        metrics=result_files("metrics_{boxes}.json", ablation_runs()),
        complexity="<results>/complexity.csv",
        models="config/models.tsv",
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
        " --models {input.models} --output-dir $(dirname {output.csv}) > {log} 2>&1"


rule comparison:
    input:
        metrics=compared_metrics,
        submissions=submission_files,
        complexity="<results>/complexity.csv",
        models="config/models.tsv",
    output:
        csv="<results>/tables/table{number}.csv",
        md="<results>/tables/table{number}.md",
        html=report(
            "<results>/tables/table{number}.html",
            caption="../report/comparison.rst",
            category="Tables",
            labels={"table": "{number}", "shows": "the comparison"},
        ),
    log:
        "<results>/logs/table{number}.log",
    benchmark:
        "<results>/benchmarks/table{number}.tsv"
    conda:
        "../../environment.yml"
    params:
        submissions=submission_arguments,
        code=code("comparison"),
    shell:
        "python -m analysis.comparison {wildcards.number} --metrics {input.metrics}"
        " {params.submissions} --complexity {input.complexity} --models {input.models}"
        " --output-dir $(dirname {output.csv}) > {log} 2>&1"


rule samples:
    input:
        data_files("train"),
    output:
        report(
            "<results>/figures/samples_{run}.png",
            caption="../report/samples.rst",
            category="Data",
            labels={"run": "{run}"},
        ),
    log:
        "<results>/logs/samples/{run}.log",
    benchmark:
        "<results>/benchmarks/samples/{run}.tsv"
    conda:
        "../../environment.yml"
    resources:
        data_root=data_root,
    params:
        experiment=lambda wildcards: EXPERIMENTS[
            wildcards.run, config["seeds"][0]
        ].model_dump_json(),
        code=code("samples"),
    shell:
        "python -m pose.data.sheet --experiment {params.experiment:q}"
        " --data-root {resources.data_root:q} --output {output} > {log} 2>&1"


rule training_figure:
    input:
        result_files("performance.jsonl"),
    output:
        png="<results>/figures/training.png",
        svg=report(
            "<results>/figures/training.svg",
            caption="../report/training.rst",
            category="Figures",
            labels={"figure": "-", "shows": "loss and speed of the trainings"},
        ),
    log:
        "<results>/logs/training_figure.log",
    benchmark:
        "<results>/benchmarks/training_figure.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("training_figure"),
    shell:
        "python -m analysis.training --logs {input} --output-dir $(dirname {output.svg})"
        " > {log} 2>&1"


rule figure1:
    input:
        metrics=result_files(
            "metrics_{boxes}.json", runs_on(next(iter(RUNS.values()))["dataset"])
        ),
        complexity="<results>/complexity.csv",
        models="config/models.tsv",
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
        " --models {input.models} --output-dir $(dirname {output.svg}) > {log} 2>&1"


rule figure8:
    input:
        logs=result_files("training.jsonl", ablation_runs()),
        models="config/models.tsv",
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
        "python -m analysis.figure8 --logs {input.logs} --models {input.models}"
        " --output-dir $(dirname {output.svg}) > {log} 2>&1"


rule overlays:
    input:
        data_files("val"),
        predictions=f"<results>/{{run}}/seed{config['seeds'][0]}/predictions_gt.npz",
    output:
        report(
            "<results>/figures/overlays_{run}.png",
            caption="../report/overlays.rst",
            category="Predictions",
            labels={"run": "{run}"},
        ),
    log:
        "<results>/logs/overlays/{run}.log",
    benchmark:
        "<results>/benchmarks/overlays/{run}.tsv"
    conda:
        "../../environment.yml"
    resources:
        data_root=data_root,
    params:
        dataset=lambda wildcards: RUNS[wildcards.run]["dataset"],
        code=code("overlays"),
    shell:
        "python -m analysis.overlays --dataset {params.dataset} --predictions {input.predictions}"
        " --data-root {resources.data_root:q} --output {output} > {log} 2>&1"
