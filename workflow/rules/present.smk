"""Tables from the result files, and sheets of the data."""


rule table1:
    input:
        plan.files("metrics_{boxes}.json", plan.ablation()),
        resamples="<results>/resamples.parquet",
        complexity="<results>/complexity.csv",
        models="config/models.tsv",
    output:
        csv=report(
            "<results>/tables/table1.csv",
            caption="../report/table1.rst",
            category="Tables",
            labels={"table": "1", "shows": "the eight orders", "as": "numbers (CSV)"},
        ),
        md="<results>/tables/table1.md",
        tex="<results>/tables/table1.tex",
        html=report(
            "<results>/tables/table1.html",
            caption="../report/table1.rst",
            category="Tables",
            labels={"table": "1", "shows": "the eight orders", "as": "page"},
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
        csv=report(
            "<results>/tables/table{number}.csv",
            caption="../report/comparison.rst",
            category="Tables",
            labels={
                "table": "{number}",
                "shows": "the comparison",
                "as": "numbers (CSV)",
            },
        ),
        md="<results>/tables/table{number}.md",
        tex="<results>/tables/table{number}.tex",
        html=report(
            "<results>/tables/table{number}.html",
            caption="../report/comparison.rst",
            category="Tables",
            labels={"table": "{number}", "shows": "the comparison", "as": "page"},
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
