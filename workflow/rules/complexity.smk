"""Parameters, multiply-adds and latency: of this config's runs; the first two of every model too."""


rule count:
    output:
        "<results>/complexity.csv",
    log:
        "<results>/logs/count.log",
    benchmark:
        "<results>/benchmarks/count.tsv"
    conda:
        "../../environment.yml"
    params:
        cases=plan.counted_cases(),
        code=plan.code("pose.complexity", *[run.model for run in plan.runs.values()]),
    shell:
        "python -m pose.complexity --sheet <(printf '%s\\n' {params.cases:q}) --csv {output:q}"
        " > {log:q} 2>&1"


# On a CPU it takes all cores, so that no other job slows down what it times.
rule latency:
    output:
        "<results>/latency.csv",
    log:
        "<results>/logs/latency.log",
    benchmark:
        "<results>/benchmarks/latency.tsv"
    conda:
        "../../environment.yml"
    threads: loader_threads if plan.gpus else workflow.resource_settings.cores or 1
    resources:
        gpu=min(plan.gpus, 1),
        device=plan.device,
    params:
        cases=plan.counted_cases(),
        code=plan.code("pose.complexity", *[run.model for run in plan.runs.values()]),
    shell:
        "python workflow/scripts/launch.py {resources.gpu:q} {threads} pose.complexity"
        " --sheet <(printf '%s\\n' {params.cases:q}) --latency {resources.device:q} --csv {output:q}"
        " > {log:q} 2>&1"


rule count_all:
    input:
        "config/complexity.csv",
    output:
        "<results>/complexity_all.csv",
    log:
        "<results>/logs/count_all.log",
    benchmark:
        "<results>/benchmarks/count_all.tsv"
    conda:
        "../../environment.yml"
    threads: 8
    params:
        code=plan.code("pose.complexity"),
    shell:
        "python -m pose.complexity --sheet {input:q} --csv {output:q} --workers {threads} > {log:q} 2>&1"


rule complexity_table:
    input:
        complexity="<results>/complexity_all.csv",
        models="config/models.tsv",
    output:
        csv=report(
            "<results>/tables/complexity.csv",
            caption="../report/complexity.rst",
            category="Tables",
            labels={
                "table": "complexity",
                "shows": "every model",
                "as": "numbers (CSV)",
            },
        ),
        md="<results>/tables/complexity.md",
        tex="<results>/tables/complexity.tex",
        html=report(
            "<results>/tables/complexity.html",
            caption="../report/complexity.rst",
            category="Tables",
            labels={"table": "complexity", "shows": "every model", "as": "page"},
        ),
    log:
        "<results>/logs/complexity_table.log",
    benchmark:
        "<results>/benchmarks/complexity_table.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.csv, parent=True),
        code=plan.code("analysis.complexity_table"),
    shell:
        "python -m analysis.complexity_table --complexity {input.complexity:q}"
        " --models {input.models:q} --output-dir {params.folder:q} 2>&1 | tee {log:q}"


rule complexity:
    input:
        "<results>/tables/complexity.html",
    localrule: True
