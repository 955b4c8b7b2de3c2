"""What stands behind the scores: controls, an audit of the protocol, kinds of errors, quality."""


rule controls:
    input:
        plan.data_files("val"),
    output:
        "<results>/{run}/controls.csv",
    log:
        "<results>/logs/controls/{run}.log",
    benchmark:
        "<results>/benchmarks/controls/{run}.tsv"
    conda:
        "../../environment.yml"
    resources:
        data_root=plan.data_root,
    params:
        experiments=lambda wildcards: diagnosis.experiments(plan, wildcards.run),
        detections=lambda wildcards: diagnosis.detections(plan, wildcards.run),
        code=plan.code("pose.controls"),
    shell:
        "python -m pose.controls --experiment {params.experiments:q} --data-root {resources.data_root:q}"
        " {params.detections:q} --output {output:q} > {log:q} 2>&1"


rule audit:
    input:
        plan.data_files("val"),
        weights="<results>/{run}/seed{seed}/weights.safetensors",
    output:
        "<results>/{run}/seed{seed}/audit.csv",
    log:
        "<results>/logs/audit/{run}-seed{seed}.log",
    benchmark:
        "<results>/benchmarks/audit/{run}-seed{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: loader_threads
    resources:
        gpu=plan.gpus,
        device=plan.config.device,
        data_root=plan.data_root,
    params:
        experiment=plan.experiment,
        detections=lambda wildcards: diagnosis.detections(plan, wildcards.run),
        code=lambda wildcards: plan.code("pose.audit", plan.runs[wildcards.run].model),
    shell:
        "python workflow/scripts/launch.py {resources.gpu:q} {threads} pose.audit --experiment {params.experiment:q}"
        " --weights {input.weights:q} --data-root {resources.data_root:q} {params.detections:q}"
        " --output {output:q} --device {resources.device:q}"
        " > {log:q} 2>&1"


rule errors:
    input:
        predictions=diagnosis.predictions(plan),
    output:
        csv=report(
            "<results>/tables/errors.csv",
            caption="../report/errors.rst",
            category="Diagnosis",
            labels={"shows": "kinds of errors", "as": "numbers (CSV)"},
        ),
        md="<results>/tables/errors.md",
        tex="<results>/tables/errors.tex",
        html=report(
            "<results>/tables/errors.html",
            caption="../report/errors.rst",
            category="Diagnosis",
            labels={"shows": "kinds of errors", "as": "page"},
        ),
        png="<results>/figures/errors.png",
        pdf="<results>/figures/errors.pdf",
        svg=report(
            "<results>/figures/errors.svg",
            caption="../report/errors.rst",
            category="Diagnosis",
            labels={"shows": "kinds of errors", "as": "figure"},
        ),
    log:
        "<results>/logs/errors.log",
    benchmark:
        "<results>/benchmarks/errors.tsv"
    conda:
        "../../environment.yml"
    params:
        arguments=lambda _: diagnosis.errors(plan),
        folder=subpath(output.csv, ancestor=2),
        code=plan.code("analysis.errors"),
    shell:
        "python -m analysis.errors {params.arguments:q} --results {input.predictions:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule quality:
    input:
        plan.files("metrics_{boxes}.json"),
        plan.files("training.jsonl"),
        diagnosis.controls(plan),
        diagnosis.audit(plan),
    output:
        multiext("<results>/tables/quality", ".md", ".tex"),
        multiext("<results>/tables/controls", ".md", ".tex"),
        multiext("<results>/tables/audit", ".md", ".tex"),
        html=report(
            "<results>/tables/quality.html",
            caption="../report/quality.rst",
            category="Diagnosis",
            labels={"shows": "what asks for a look", "as": "page"},
        ),
        quality_csv=report(
            "<results>/tables/quality.csv",
            caption="../report/quality.rst",
            category="Diagnosis",
            labels={"shows": "what asks for a look", "as": "numbers (CSV)"},
        ),
        controls=report(
            "<results>/tables/controls.html",
            caption="../report/controls.rst",
            category="Diagnosis",
            labels={"shows": "scores beside their controls", "as": "page"},
        ),
        controls_csv=report(
            "<results>/tables/controls.csv",
            caption="../report/controls.rst",
            category="Diagnosis",
            labels={"shows": "scores beside their controls", "as": "numbers (CSV)"},
        ),
        audit=report(
            "<results>/tables/audit.html",
            caption="../report/audit.rst",
            category="Diagnosis",
            labels={"shows": "what each choice of the protocol moves", "as": "page"},
        ),
        audit_csv=report(
            "<results>/tables/audit.csv",
            caption="../report/audit.rst",
            category="Diagnosis",
            labels={
                "shows": "what each choice of the protocol moves",
                "as": "numbers (CSV)",
            },
        ),
    log:
        "<results>/logs/quality.log",
    benchmark:
        "<results>/benchmarks/quality.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.html, parent=True),
        places=plan.folders(),
        code=plan.code("analysis.quality"),
    shell:
        "python -m analysis.quality {params.places:q} --output-dir {params.folder:q} 2>&1 | tee {log:q}"
