"""How sure the scores are, what the switches of the ablation do, and the paper's claims."""


rule intervals:
    input:
        plan.files("predictions_{boxes}.npz"),
        plan.files("metrics_{boxes}.json"),
    output:
        plan.files("intervals_{boxes}.json"),
        resamples="<results>/resamples.parquet",
    log:
        "<results>/logs/intervals.log",
    benchmark:
        "<results>/benchmarks/intervals.tsv"
    conda:
        "../../environment.yml"
    threads: 2
    params:
        places=plan.folders(),
        truths=lambda _: plan.truths(),
        code=plan.code("analysis.intervals"),
    shell:
        "python -m analysis.intervals {params.places:q} --truth {params.truths:q}"
        " --output {output.resamples:q} > {log:q} 2>&1"


rule effects:
    input:
        plan.files("persons_{boxes}.parquet", plan.ablation()),
        plan.files("training.jsonl", plan.ablation()),
        resamples="<results>/resamples.parquet",
        models="config/models.tsv",
    output:
        csv=report(
            "<results>/tables/effects.csv",
            caption="../report/effects.rst",
            category="Tables",
            labels={
                "table": "effects",
                "shows": "what each switch adds",
                "as": "numbers (CSV)",
            },
        ),
        md="<results>/tables/effects.md",
        tex="<results>/tables/effects.tex",
        html=report(
            "<results>/tables/effects.html",
            caption="../report/effects.rst",
            category="Tables",
            labels={
                "table": "effects",
                "shows": "what each switch adds",
                "as": "page",
            },
        ),
        groups_csv=report(
            "<results>/tables/effects_by_group.csv",
            caption="../report/effects.rst",
            category="Tables",
            labels={"table": "effects", "shows": "by group", "as": "numbers (CSV)"},
        ),
        groups_md="<results>/tables/effects_by_group.md",
        groups_tex="<results>/tables/effects_by_group.tex",
        groups_html=report(
            "<results>/tables/effects_by_group.html",
            caption="../report/effects.rst",
            category="Tables",
            labels={"table": "effects", "shows": "by group", "as": "page"},
        ),
        png="<results>/figures/effects.png",
        pdf="<results>/figures/effects.pdf",
        svg=report(
            "<results>/figures/effects.svg",
            caption="../report/effects.rst",
            category="Figures",
            labels={"figure": "effects", "shows": "what each switch adds"},
        ),
    log:
        "<results>/logs/effects.log",
    benchmark:
        "<results>/benchmarks/effects.tsv"
    conda:
        "../../environment.yml"
    params:
        places=plan.folders(plan.ablation()),
        truths=lambda _: plan.truths(),
        tables=subpath(output.csv, parent=True),
        figures=subpath(output.svg, parent=True),
        code=plan.code("analysis.effects"),
    shell:
        "python -m analysis.effects {params.places:q} --truth {params.truths:q}"
        " --resamples {input.resamples:q} --models {input.models:q}"
        " --output-dir {params.tables:q} --figures {params.figures:q} > {log:q} 2>&1"


rule claims:
    input:
        plan.files("training.jsonl"),
        resamples="<results>/resamples.parquet",
        complexity="<results>/complexity.csv",
        claims="analysis/reported/claims.tsv",
        models="config/models.tsv",
    output:
        csv=report(
            "<results>/tables/claims.csv",
            caption="../report/claims.rst",
            category="Tables",
            labels={
                "table": "claims",
                "shows": "the paper's, checked",
                "as": "numbers (CSV)",
            },
        ),
        md="<results>/tables/claims.md",
        tex="<results>/tables/claims.tex",
        html=report(
            "<results>/tables/claims.html",
            caption="../report/claims.rst",
            category="Tables",
            labels={"table": "claims", "shows": "the paper's, checked", "as": "page"},
        ),
    log:
        "<results>/logs/claims.log",
    benchmark:
        "<results>/benchmarks/claims.tsv"
    conda:
        "../../environment.yml"
    params:
        places=plan.folders(),
        folder=subpath(output.csv, parent=True),
        code=plan.code("analysis.claims"),
    shell:
        "python -m analysis.claims {params.places:q} --resamples {input.resamples:q}"
        " --models {input.models:q} --output-dir {params.folder:q} > {log:q} 2>&1"
