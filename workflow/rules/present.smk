"""Tables and figures from the result files."""


rule table1:
    input:
        plan.files("metrics_{boxes}.json", plan.ablation()),
        resamples="<results>/resamples.parquet",
        complexity="<results>/complexity.csv",
        models="config/models.tsv",
    output:
        csv="<results>/tables/table1.csv",
        md="<results>/tables/table1.md",
        tex="<results>/tables/table1.tex",
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
        folder=subpath(output.csv, parent=True),
        places=plan.folders(plan.ablation()),
        code=plan.code("analysis.comparison"),
    shell:
        "python -m analysis.comparison 1 {params.places:q} --models {input.models:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule comparison:
    input:
        plan.compared_metrics,
        plan.submissions,
        resamples="<results>/resamples.parquet",
        complexity="<results>/complexity.csv",
        models="config/models.tsv",
    output:
        csv="<results>/tables/table{number}.csv",
        md="<results>/tables/table{number}.md",
        tex="<results>/tables/table{number}.tex",
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
        folder=subpath(output.csv, parent=True),
        places=plan.folders(),
        code=plan.code("analysis.comparison"),
    shell:
        "python -m analysis.comparison {wildcards.number:q} {params.places:q}"
        " --models {input.models:q} --output-dir {params.folder:q} > {log:q} 2>&1"


rule samples:
    input:
        plan.data_files("train"),
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
        data_root=plan.data_root,
    params:
        experiment=plan.experiment,
        code=plan.code("pose.data.sheet"),
    shell:
        "python -m pose.data.sheet --experiment {params.experiment:q}"
        " --data-root {resources.data_root:q} --output {output:q} > {log:q} 2>&1"


rule training_figure:
    input:
        plan.files("performance.jsonl"),
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
        folder=subpath(output.svg, parent=True),
        code=plan.code("analysis.training"),
    shell:
        "python -m analysis.training --logs {input:q} --output-dir {params.folder:q}"
        " > {log:q} 2>&1"


rule figure1:
    input:
        metrics=plan.files("metrics_{boxes}.json", plan.on(plan.config.dataset)),
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
        folder=subpath(output.svg, parent=True),
        code=plan.code("analysis.figure1"),
    shell:
        "python -m analysis.figure1 --metrics {input.metrics:q} --complexity {input.complexity:q}"
        " --models {input.models:q} --output-dir {params.folder:q} > {log:q} 2>&1"


rule figure8:
    input:
        logs=plan.files("training.jsonl", plan.ablation()),
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
        folder=subpath(output.svg, parent=True),
        code=plan.code("analysis.figure8"),
    shell:
        "python -m analysis.figure8 --logs {input.logs:q} --models {input.models:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule overlays:
    input:
        plan.data_files("val"),
        predictions=f"<results>/{{run}}/seed{plan.config.seeds[0]}/predictions_gt.npz",
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
        data_root=plan.data_root,
    params:
        dataset=lambda wildcards: plan.runs[wildcards.run].settings.dataset,
        code=plan.code("analysis.overlays"),
    shell:
        "python -m analysis.overlays --dataset {params.dataset:q} --predictions {input.predictions:q}"
        " --data-root {resources.data_root:q} --output {output:q} > {log:q} 2>&1"
